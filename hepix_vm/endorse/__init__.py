# SPDX-License-Identifier: Apache-2.0
"""The endorser's side: drafts of image lists, keys, publishing, checking.

A draft is the unsigned list itself, as JSON in a file. It is edited
(:mod:`~hepix_vm.endorse.draft`), signed with a key from a file, an agent or
a token (:mod:`~hepix_vm.endorse.keys`, :mod:`~hepix_vm.endorse.sealing`),
put where subscribers fetch it (:mod:`~hepix_vm.endorse.publishing`) and
looked at as a subscriber would (:mod:`~hepix_vm.endorse.checking`).
"""
