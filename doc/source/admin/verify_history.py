# SPDX-License-Identifier: Apache-2.0
"""Verify an export of the history with Python's standard library alone.

    python3 verify_history.py EXPORT [--messages DIR] [--head SHA256]

Prints the number of rows and the head; exit status 1 when anything differs.
"""

import argparse
import hashlib
import json
import pathlib
import re
import sys

COVERED = ('at', 'who', 'event', 'subject', 'detail')

parser = argparse.ArgumentParser()
parser.add_argument('export', type=pathlib.Path)
parser.add_argument('--messages', type=pathlib.Path)
parser.add_argument('--head', help='a head that was noted earlier')
arguments = parser.parse_args()

head, rows, problems = '0' * 64, 0, []
met = arguments.head in (None, head)
with arguments.export.open(encoding='ascii') as lines:
    for line in lines:
        row = json.loads(line)
        # The digest covers the digest before it, and the row.
        covered = json.dumps(
            [head, *map(row.get, COVERED)],
            separators=(',', ':'),
        )
        head = hashlib.sha256(covered.encode('ascii')).hexdigest()
        if head != row['sha256']:
            problems.append(f'row {row["row"]} does not fit: {head}')
            head = row['sha256']
        rows += 1
        met = met or head == arguments.head
        # The subject of such a row is the SHA-256 of a signed message.
        if arguments.messages and row['event'] == 'list-seen':
            if not re.fullmatch('[0-9a-f]{64}', row['subject']):
                problems.append(f'row {row["row"]} names no message')
                continue
            file = arguments.messages / row['subject']
            if file.exists():
                found = hashlib.sha256(file.read_bytes()).hexdigest()
                if found != row['subject']:
                    problems.append(f'{file} was changed')
if not met:
    problems.append(f'the noted head {arguments.head} is not in it')
print(f'{rows} rows, head {head}')
print(*problems, sep='\n', end='\n' if problems else '')
sys.exit(bool(problems))
