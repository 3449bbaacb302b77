# SPDX-License-Identifier: Apache-2.0
"""The story of an image, told on a real cloud."""
