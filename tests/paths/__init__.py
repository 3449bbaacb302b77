# SPDX-License-Identifier: Apache-2.0
"""Every way an image reaches a virtual machine, tried on real services.

``table`` says which ways there are and what has to come of each, by who goes
it and by the state of the image. ``walking`` goes them on a cloud.
"""
