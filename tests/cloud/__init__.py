# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack on loopback: for tests, demonstrations and developers.

In a test::

    options = CloudOptions(import_plugins=('one',), checkout=...)
    with launch.work_directory() as work, launch.running(options, work) as c:
        image = actions.stage_and_import(c.glance('demo'), 'name', data)

From a shell: ``python -m tests.cloud up|status|down``.

``options`` what a cloud shall be like; ``launch`` starts it; ``cloud`` what
can be done with it; ``actions`` what its users do. Below these: ``services``
and ``settings`` (which processes, with which configuration), ``steps`` (in
which order), ``supervisor``, ``processes`` and ``watch`` (started, found and
ended by process id), ``environment`` and ``template`` (what the cache keeps:
the services of a release, its migrated databases), ``releases`` (the table).
"""
