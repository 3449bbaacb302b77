# SPDX-License-Identifier: Apache-2.0
"""Messages to people outside of the site, and how they are sent."""
