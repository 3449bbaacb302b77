# SPDX-License-Identifier: Apache-2.0
"""Simple commands of a shell script, as far as a reader can tell; no I/O.

No shell: nothing is expanded or run. It knows quotes, comments, here
documents, substitutions, reserved words and the patterns of ``case``, and
gives the words of each simple command and what its output is sent to. What
cannot be understood is passed over.
"""

from __future__ import annotations

import bisect
import dataclasses
import re

#: Substitutions within each other that are followed.
_DEEPEST = 20

#: Before a command, and not part of it.
_RESERVED = frozenset(
    {
        *('!', '{', '}', 'do', 'done', 'elif', 'else', 'fi', 'if'),
        *('then', 'time', 'until', 'while', 'esac'),
    }
)

#: Their words are no commands.
_NO_COMMAND = frozenset({'for', 'select', 'function', 'case'})

_BLANK = ' \t\r'

#: Runs of characters that mean nothing, outside and inside of quotes.
_PLAIN = re.compile(r'[^\s\\\'"$`#;&|()<>{}]+')
_QUOTED = re.compile(r'[^\\"$`]+')


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A word: quotes are gone, expansions stand as they are written."""

    text: str
    line: int


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A simple command.

    :param words: at least one, unless it only has ``written``
    :param written: what its output is redirected to
    :param inner: it runs in a subshell or a substitution
    """

    words: tuple[Word, ...]
    written: tuple[Word, ...]
    inner: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """What was found in a script.

    :param quotes: begin and end of what is quoted
    :param documents: begin and end of here documents
    """

    commands: tuple[Command, ...]
    quotes: tuple[tuple[int, int], ...]
    documents: tuple[tuple[int, int], ...]


def read(text: str) -> Script:
    """Read a script; anything can be read."""
    reader = _Reader(text)
    reader.run(0, '')

    def within(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        # What is not closed leads the reader beyond the end.
        last = len(text)
        return tuple(
            (min(start, last), min(end, last)) for start, end in spans
        )

    return Script(
        tuple(reader.commands), within(reader.quotes), within(reader.documents)
    )


class _Reader:
    """Goes through a text once, from left to right."""

    def __init__(self, text: str) -> None:
        self.commands: list[Command] = []
        self.quotes: list[tuple[int, int]] = []
        self.documents: list[tuple[int, int]] = []
        self._text = text
        self._at = 0
        self._ends = [m.start() for m in re.finditer('\n', text)]
        self._pending: list[tuple[str, bool]] = []

    def line(self) -> int:
        return bisect.bisect_left(self._ends, self._at) + 1

    def peek(self, count: int = 1) -> str:
        return self._text[self._at : self._at + count]

    def run(self, depth: int, end: str) -> None:
        """Read commands up to ``end``: ``)``, a back quote, or all."""
        now = _Commands(self, depth)
        while self._at < len(self._text):
            char = self.peek()
            if char == end and not now.nested and not now.pattern:
                break
            if self.peek(2) == '\\\n':
                self._at += 2
            elif char in _BLANK:
                now.end_word()
                self._at += 1
            elif char == '#' and now.word is None:
                self._at = self._until('\n')
            elif char == '\n':
                now.end_command()
                self._at += 1
                self._skip_documents()
            elif char in ';&|()' and self.peek(2) not in ('&>',):
                self._operator(char, now)
            elif char in '<>' or self.peek(2) == '&>':
                self._redirection(now)
            else:
                now.add(self._run_of(_PLAIN) or self.piece(depth))
        now.end_command()
        self._at += 1

    def piece(self, depth: int) -> str:
        """Take one character or one quoted or expanded piece of a word."""
        char, two = self.peek(), self.peek(2)
        if char == '\\':
            self._at += 2
            return two[1:].strip('\n')
        if char == "'":
            return self._quoted(self._until("'", 1))
        if char == '"':
            return self._double(depth)
        if two == '$(' or char == '`':
            return self._substitution(depth)
        if two == '${':
            return self._braces(depth)
        self._at += 1
        return char

    def _run_of(self, plain: re.Pattern[str]) -> str:
        found = plain.match(self._text, self._at)
        if found is None:
            return ''
        self._at = found.end()
        return found.group()

    def _until(self, what: str, ahead: int = 0) -> int:
        found = self._text.find(what, self._at + ahead)
        return len(self._text) if found < 0 else found

    def _quoted(self, end: int) -> str:
        start = self._at + 1
        self._at = end + 1
        self.quotes.append((start, end))
        return self._text[start:end]

    def _double(self, depth: int) -> str:
        self._at += 1
        start, pieces = self._at, []
        while self._at < len(self._text) and self.peek() != '"':
            pieces.append(self._run_of(_QUOTED) or self.piece(depth))
        self.quotes.append((start, self._at))
        self._at += 1
        return ''.join(pieces)

    def _substitution(self, depth: int) -> str:
        start = self._at
        end = '`' if self.peek() == '`' else ')'
        if self.peek(3) == '$((':
            self._at = self._until('))') + 2
        elif depth >= _DEEPEST:
            self._at += 1
        else:
            self._at += 1 if end == '`' else 2
            self.run(depth + 1, end)
        return self._text[start : self._at]

    def _braces(self, depth: int) -> str:
        start = self._at
        self._at += 2
        while self._at < len(self._text) and self.peek() != '}':
            if depth >= _DEEPEST:
                self._at += 1
            else:
                self.piece(depth + 1)
        self._at += 1
        return self._text[start : self._at]

    def _operator(self, char: str, now: _Commands) -> None:
        self._at += 1
        if char == '(':
            now.open(self.peek() == ')')
        elif char == ')':
            now.close()
        else:
            double = char == ';' and self.peek() in (';', '&')
            now.end_command(double)
            self._at += int(double)

    def _redirection(self, now: _Commands) -> None:
        found = re.compile(r'&>>?|<<<|<<-?|<>|[<>]&|>>|>\||[<>]').match(
            self._text, self._at
        )
        sign = found.group() if found else self.peek()
        # The number of what is redirected is no word.
        if now.word is not None and now.word.isdigit():
            now.word = None
        now.end_word()
        self._at += len(sign)
        if sign in ('<<', '<<-'):
            self._announce(sign == '<<-')
        elif sign in ('<', '<>', '<<<', '<&', '>&'):
            now.target(sign == '<>')
        else:
            now.target(True)

    def _announce(self, tabs: bool) -> None:
        while self.peek() and self.peek() in _BLANK:
            self._at += 1
        pieces = []
        while self.peek() and self.peek() not in _BLANK + '\n;&|<>()':
            pieces.append(self.piece(_DEEPEST))
        self._pending.append((''.join(pieces), tabs))

    def _skip_documents(self) -> None:
        for word, tabs in self._pending:
            start = self._at
            while self._at < len(self._text):
                end = self._until('\n')
                line = self._text[self._at : end]
                if (line.lstrip('\t') if tabs else line) == word:
                    break
                self._at = end + 1
            self.documents.append((start, self._at))
            self._at = self._until('\n') + 1
        self._pending.clear()


class _Commands:
    """Puts words together to commands, at one depth of substitution."""

    def __init__(self, reader: _Reader, depth: int) -> None:
        self.word: str | None = None
        self.nested = 0
        self.pattern = False
        self._reader = reader
        self._depth = depth
        self._line = 1
        self._words: list[Word] = []
        self._written: list[Word] = []
        self._cases = 0
        self._goes_to: bool | None = None

    def add(self, piece: str) -> None:
        if self.word is None:
            self.word, self._line = '', self._reader.line()
        self.word += piece

    def target(self, written: bool) -> None:
        """The next word is what is redirected to or from."""
        self._goes_to = written

    def end_word(self) -> None:
        if self.word is None:
            return
        found = Word(self.word, self._line)
        if self._goes_to is None:
            self._words.append(found)
        elif self._goes_to:
            self._written.append(found)
        self.word = self._goes_to = None
        if self.pattern and self._words and found.text == 'esac':
            self._leave_case()

    def end_command(self, next_pattern: bool = False) -> None:
        self.end_word()
        words, written = self._words, self._written
        self._words, self._written = [], []
        if self.pattern:
            return
        while words and words[0].text in _RESERVED:
            if words.pop(0).text == 'esac':
                self._leave_case()
        if words and words[0].text == 'case':
            self._enter_case()
        elif words and words[0].text in _NO_COMMAND:
            words = []
        if (words and not self.pattern) or written:
            self._reader.commands.append(
                Command(
                    tuple(words),
                    tuple(written),
                    self._depth > 0 or self.nested > 0,
                )
            )
        if next_pattern and self._cases:
            self.pattern = True

    def open(self, function: bool) -> None:
        self.end_word()
        if self.pattern:
            return
        if function:
            # What stands before was a name.
            self._words = []
        self.end_command()
        self.nested += 1

    def close(self) -> None:
        self.end_word()
        if self.pattern:
            self._words = []
            self.pattern = False
        elif self._words and self._words[0].text == 'case':
            self._enter_case()
            self._words = []
            self.pattern = False
        else:
            self.end_command()
            self.nested = max(0, self.nested - 1)

    def _enter_case(self) -> None:
        self._cases += 1
        self.pattern = True

    def _leave_case(self) -> None:
        self._cases = max(0, self._cases - 1)
        self.pattern = False
        self._words = []
