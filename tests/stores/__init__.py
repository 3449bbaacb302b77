# SPDX-License-Identifier: Apache-2.0
"""Glance and Cinder with stores on real Swift, S3 and Ceph."""
