# SPDX-License-Identifier: Apache-2.0
"""Configuration of Glance, Nova and Cinder that leaves nothing open."""

from __future__ import annotations

from pathlib import Path

from oslo_policy import policy
import pytest

from hepix_vm.glance import paths as glance_paths
from hepix_vm.glance import plugins
from hepix_vm.nova import paths as nova_paths
from hepix_vm.nova import volume_paths
from hepix_vm.paths import policies

FILTER = 'hepix_vm.nova.filter.HepixApprovedImageFilter'
SHIPPED = Path(__file__).parents[1] / 'etc' / 'hepix_vm'
GOOD_GLANCE = '[image_import_opts]\nimage_import_plugins = %s\n'
GLANCE_API = (
    '[DEFAULT]\n'
    'enabled_backends = one:file\n'
    'property_protection_file = protections.conf\n'
    '[paste_deploy]\n'
    'flavor = keystone\n'
)
GLANCE_PASTE = """
[composite:api]
paste.composite_factory = glance.api:pipeline_factory
keystone = authtoken context hepix_guard rootapp
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
[filter:hepix_guard]
paste.filter_factory = hepix_vm.glance.guard:filter_factory
"""
OURS = 'hepix_verify,hepix_record'
GOOD_NOVA = (
    '[filter_scheduler]\n'
    'available_filters = nova.scheduler.filters.all_filters\n'
    f'available_filters = {FILTER}\n'
    'enabled_filters = ComputeFilter,HepixApprovedImageFilter\n'
    '[service_user]\n'
    'send_service_user_token = true\n'
)
NOVA_PASTE = """
[composite:openstack_compute_api_v21]
use = call:nova.api.auth:pipeline_factory_v21
keystone = authtoken keystonecontext hepix_guard app
[composite:openstack_compute_api_v21_legacy_v2_compatible]
use = call:nova.api.auth:pipeline_factory_v21
keystone = authtoken keystonecontext hepix_guard legacy_v2_compatible app
[filter:keystonecontext]
paste.filter_factory = nova.api.auth:NovaKeystoneContext.factory
[filter:hepix_guard]
paste.filter_factory = hepix_vm.nova.guard:filter_factory
"""
CINDER_POLICY = """
"admin_api": "role:admin"
"volume_extension:volume_image_metadata:set": "rule:admin_api"
"volume_extension:volume_image_metadata:remove": "rule:admin_api"
"""
#: What the shipped policy leaves to Glance's defaults, where Glance is.
GLANCE_DEFAULTS = [
    policy.RuleDefault('default', ''),
    policy.RuleDefault('context_is_admin', 'role:admin'),
    policy.RuleDefault('service_api', 'role:service or role:admin'),
    *(
        policy.RuleDefault(name, 'role:admin or role:member')
        for name in (
            'upload_image',
            'add_image_location',
            'fetch_image_location',
            'get_image_location',
            'set_image_location',
            'tasks_api_access',
            'reactivate',
            'download_image',
            'download_from_store',
        )
    ),
]
CHECKS = {
    'Glance import plugins',
    'Glance start-up guard',
    *(f'Glance: {name}' for name in glance_paths.NAMES),
    *(f'Nova: {name}' for name in nova_paths.NAMES),
    'Nova service token',
    'Site: dry-run',
    'Site: aggregates',
    'Site: projects',
    'Site: volume-boot',
    *(f'Cinder: {name}' for name in volume_paths.NAMES),
}


def pretend_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Glance and our plugins in it, and no Cinder."""
    monkeypatch.setattr(
        plugins, 'loadable', lambda: frozenset(OURS.split(','))
    )
    monkeypatch.setattr(
        policies,
        'installed',
        lambda service: GLANCE_DEFAULTS if service == 'glance' else None,
    )


class Services:
    """Their files.

    :param folder: empty
    """

    def __init__(self, folder: Path) -> None:
        self.glance = folder / 'glance'
        self.nova = folder / 'nova' / 'nova.conf'
        self.nova_paste = self.nova.with_name('api-paste.ini')
        self.cinder = folder / 'cinder' / 'cinder.conf'
        self.cinder_policy = self.cinder.with_name('policy.yaml')
        shipped = {
            'policy.yaml': 'glance-policy.yaml',
            'protections.conf': 'glance-property-protections.conf',
        }
        files = {
            self.glance / 'glance-api.conf': GLANCE_API,
            self.glance / 'glance-image-import.conf': GOOD_GLANCE
            % f'[{OURS}]',
            self.glance / 'glance-api-paste.ini': GLANCE_PASTE,
            self.nova: GOOD_NOVA,
            self.nova_paste: NOVA_PASTE,
            self.cinder: '[DEFAULT]\n',
            self.cinder_policy: CINDER_POLICY,
            **{
                self.glance / name: (SHIPPED / source).read_text()
                for name, source in shipped.items()
            },
        }
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
