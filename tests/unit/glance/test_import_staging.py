# SPDX-License-Identifier: Apache-2.0
"""Only the file that Glance staged for this image is read or deleted."""

import contextlib
import os
import pathlib
import types

import pytest

from hepix_vm import errors
from hepix_vm.glance import staging

IMAGE = '7f6f5f8e-52d7-4f6b-9b57-0a3ad15b0f35'
OTHER = '11111111-2222-4333-8444-555555555555'


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / 'staging'
    folder.mkdir()
    (folder / IMAGE).write_bytes(b'image data')
    (folder / OTHER).write_bytes(b'of somebody else')
    (tmp_path / 'secret').write_bytes(b'secret')
    return folder


def read(place: pathlib.Path, url: str, converted: bool = False) -> bytes:
    with staging.opened(str(place), url, IMAGE, converted) as staged:
        content = os.read(staged.descriptor, 4096)
        assert staged.size == len(content)
        return content


def test_the_staged_file_is_read(place: pathlib.Path) -> None:
    assert read(place, f'file://{place}/{IMAGE}') == b'image data'


def test_another_spelling_of_the_directory_is_the_same_place(
    place: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / 'link').symlink_to(place)
    assert read(place, f'file://{tmp_path}/link/{IMAGE}') == b'image data'
    assert read(place, f'file://{place}/./{IMAGE}') == b'image data'


@pytest.mark.parametrize(
    'url',
    [
        'file://{place}/' + OTHER,
        'file://{place}/../secret',
        'file://{place}/' + IMAGE + '/../' + OTHER,
        'file://{place}/../staging2/' + IMAGE,
        'file:///etc/passwd',
        'file://localhost{place}/' + IMAGE,
        'http://localhost/' + IMAGE,
        '{place}/' + IMAGE,
        'file://{place}/' + IMAGE + '.qcow2',
        'file://{place}/' + IMAGE + '0',
        '',
    ],
)
def test_any_other_location_is_refused(place: pathlib.Path, url: str) -> None:
    with pytest.raises(errors.NotBelieved, match='names another file'):
        read(place, url.format(place=place))


def test_an_image_id_that_is_a_path_is_refused(place: pathlib.Path) -> None:
    with (
        pytest.raises(errors.NotBelieved, match='names another file'),
        staging.opened(str(place), f'file://{place}/../secret', '../secret'),
    ):
        pytest.fail('opened')


def test_a_converted_file_is_read_only_after_conversion(
    place: pathlib.Path,
) -> None:
    (place / f'{IMAGE}.qcow2').write_bytes(b'converted')
    url = f'file://{place}/{IMAGE}.qcow2'
    assert read(place, url, converted=True) == b'converted'
    with pytest.raises(errors.NotBelieved):
        read(place, url)


@pytest.mark.parametrize('suffix', ['.', '.a/b', '.A', 'x', '.' + 'q' * 17])
def test_strange_extensions_are_refused(
    place: pathlib.Path, suffix: str
) -> None:
    with pytest.raises(errors.NotBelieved):
        read(place, f'file://{place}/{IMAGE}{suffix}', converted=True)


def test_a_symbolic_link_is_not_followed(
    place: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (place / IMAGE).unlink()
    (place / IMAGE).symlink_to(tmp_path / 'secret')
    with pytest.raises(errors.NotBelieved, match='cannot be read'):
        read(place, f'file://{place}/{IMAGE}')


def test_a_pipe_does_not_block_and_is_refused(place: pathlib.Path) -> None:
    (place / IMAGE).unlink()
    os.mkfifo(place / IMAGE)
    with pytest.raises(errors.NotBelieved, match='no regular file'):
        read(place, f'file://{place}/{IMAGE}')


def test_a_directory_is_refused(place: pathlib.Path) -> None:
    (place / IMAGE).unlink()
    (place / IMAGE).mkdir()
    with pytest.raises(errors.NotBelieved, match='no regular file'):
        read(place, f'file://{place}/{IMAGE}')


def test_a_missing_file_is_refused(place: pathlib.Path) -> None:
    (place / IMAGE).unlink()
    with pytest.raises(errors.NotBelieved, match='cannot be read'):
        read(place, f'file://{place}/{IMAGE}')


def opened_below(place: pathlib.Path) -> list[pathlib.Path]:
    """What of it this process has open."""
    links = []
    for path in pathlib.Path('/proc/self/fd').iterdir():
        # Threads of what ran before end and close theirs.
        with contextlib.suppress(FileNotFoundError):
            links.append(path.readlink())
    return [one for one in links if one.is_relative_to(place)]


def test_no_descriptor_is_left_open(place: pathlib.Path) -> None:
    read(place, f'file://{place}/{IMAGE}')
    with (
        pytest.raises(RuntimeError),
        staging.opened(str(place), f'file://{place}/{IMAGE}', IMAGE),
    ):
        raise RuntimeError('while reading')
    assert opened_below(place) == []


def test_only_the_images_own_file_is_deleted(
    place: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    assert staging.remove(str(place), IMAGE) is True
    assert staging.remove(str(place), IMAGE) is False
    assert staging.remove(str(place), '../secret') is False
    assert (tmp_path / 'secret').exists()
    assert [path.name for path in place.iterdir()] == [OTHER]


def configuration(**values: object) -> types.SimpleNamespace:
    defaults = {'enabled_backends': None, 'node_staging_uri': None}
    return types.SimpleNamespace(**(defaults | values))


def test_the_directory_of_a_glance_with_several_stores() -> None:
    store = types.SimpleNamespace(filesystem_store_datadir='/srv/staging')
    assert (
        staging.directory(
            configuration(
                enabled_backends={'local': 'file'},
                os_glance_staging_store=store,
            )
        )
        == '/srv/staging'
    )


def test_the_directory_of_a_glance_with_one_store() -> None:
    assert (
        staging.directory(
            configuration(node_staging_uri='file:///srv/staging/')
        )
        == '/srv/staging/'
    )


@pytest.mark.parametrize('uri', [None, '', 'http://x/y', 'file://relative'])
def test_a_glance_without_local_staging_is_misconfigured(
    uri: str | None,
) -> None:
    with pytest.raises(errors.Misconfigured, match='node_staging_uri'):
        staging.directory(configuration(node_staging_uri=uri))
