# SPDX-License-Identifier: Apache-2.0
"""Configuration files as values, and as text for oslo.config."""

from collections.abc import Sequence
import re

from tests.cloud import options

_NAME = re.compile(r'[A-Za-z0-9_.:-]+')


def _text(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return 'true' if value else 'false'
    text = str(value)
    if '\n' in text or '\r' in text:
        raise ValueError(f'a line break in a configuration value: {text!r}')
    return text


def _lines(option: str, value: options.Value) -> list[str]:
    if not _NAME.fullmatch(option):
        raise ValueError(f'not the name of an option: {option!r}')
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [f'{option} = {_text(one)}' for one in value]
    return [f'{option} = {_text(value)}']


def render(sections: options.Sections) -> str:
    """Return the text of a configuration file.

    :raises ValueError: on a line break or a name that would change the file
    """
    lines = []
    for section, content in sections.items():
        if not _NAME.fullmatch(section):
            raise ValueError(f'not the name of a section: {section!r}')
        lines.append(f'[{section}]')
        for option, value in content.items():
            lines.extend(_lines(option, value))
        lines.append('')
    return '\n'.join(lines)


def merge(base: options.Sections, more: options.Sections) -> options.Sections:
    """Return ``base`` with the options of ``more`` put over it."""
    return {
        section: {**base.get(section, {}), **more.get(section, {})}
        for section in {**base, **more}
    }
