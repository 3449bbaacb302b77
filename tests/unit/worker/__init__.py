# SPDX-License-Identifier: Apache-2.0
"""The pure pieces of the cloud that the functional tests start."""
