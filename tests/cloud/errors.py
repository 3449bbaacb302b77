# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a cloud, said in one sentence and a log's end."""


class CloudError(Exception):
    """The cloud cannot do what was asked; the message says why."""


class NotReady(CloudError):
    """Something did not happen within its time."""
