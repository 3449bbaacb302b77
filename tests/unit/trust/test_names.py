# SPDX-License-Identifier: Apache-2.0
"""Distinguished names are compared as parsed, and read in one way only."""

from __future__ import annotations

from cryptography import x509
import pytest

from hepix_vm.trust import names

CN = '2.5.4.3'
C = '2.5.4.6'
O = '2.5.4.10'  # noqa: E741
UID = '0.9.2342.19200300.100.1.1'
EMAIL = '1.2.840.113549.1.9.1'


def _name(*pairs):
    return names.Name(tuple(frozenset({pair}) for pair in pairs))


JO = _name((C, 'DE'), (O, 'Grid'), (CN, 'Jo'))


@pytest.mark.parametrize(
    'text',
    [
        'CN=Jo,O=Grid,C=DE',
        'cn=Jo, o=Grid, c=DE',
        ' CN=Jo,O=Grid,C=DE ',
        'commonName=Jo,organizationName=Grid,countryName=DE',
        '2.5.4.3=Jo,O=Grid,C=DE',
        r'CN=\4a\6F,O=Grid,C=DE',
        'CN=#0c024a6f,O=Grid,C=DE',
        'CN=#13024A6F ,O=Grid,C=DE',
        '/C=DE/O=Grid/CN=Jo',
        '/c=DE/o=Grid/cn=Jo',
        '/C=DE/O=Grid/2.5.4.3=Jo',
    ],
)
def test_forms_of_one_name(text):
    assert names.parse(text) == JO


@pytest.mark.parametrize('word', ['emailAddress', 'Email', 'E', 'EMAIL'])
def test_spellings_of_an_address_are_one(word):
    expected = _name((C, 'DE'), (EMAIL, 'jo@example.org'))
    assert names.parse(f'/C=DE/{word}=jo@example.org') == expected
    assert names.parse(f'{word}=jo@example.org,C=DE') == expected


def test_spellings_of_other_types_are_one():
    assert names.parse('/UID=jo') == names.parse('/USERID=jo')
    assert names.parse('/S=Bavaria') == names.parse('/ST=Bavaria')
    assert names.parse('/SN=Doe') != names.parse('/S=Doe')


def test_repeated_types_keep_their_order():
    text = '/DC=ch/DC=cern/OU=Users/CN=jo/CN=123/CN=Jo Doe'
    assert names.parse(text).slash() == text
    assert names.parse(text) != names.parse(
        '/DC=cern/DC=ch/OU=Users/CN=jo/CN=123/CN=Jo Doe'
    )


def test_slash_in_a_value_where_no_other_reading_exists():
    assert names.parse('/C=DE/CN=host/a.example.org') == _name(
        (C, 'DE'), (CN, 'host/a.example.org')
    )


def test_slash_form_never_means_the_value_that_holds_a_part():
    one_part = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, 'a/CN=b')]
    )
    certificate = names.from_x509(one_part)
    assert certificate.slash() == '/CN=a/CN=b'
    assert names.parse('/CN=a/CN=b') != certificate
    assert names.parse('CN=a/CN\\=b') == certificate
    assert names.parse(certificate.rfc4514()) == certificate


def test_bytes_that_openssl_prints_in_hex():
    assert names.parse(r'/CN=\xC3\x9Cm') == _name((CN, 'Üm'))
    assert names.parse('/CN=Üm') == _name((CN, 'Üm'))


@pytest.mark.parametrize(
    'text',
    [
        '/C=DE/CN=a/what=b',
        '/C=DE/CN=http://x?a=b/c=',
        '/C=DE/CN=jo+UID=jo',
        '/C=DE/CN=jo + UID=jo',
        r'/CN=\x41',
        r'/CN=\xff',
        '/CN= jo',
        '/CN=jo /C=DE',
        '/CN=jo/',
        '/CN=a/ b=c',
    ],
)
def test_ambiguous_slash_form_is_refused_and_said_so(text):
    with pytest.raises(names.NotAName) as caught:
        names.parse(text)
    if caught.value.ambiguous:
        assert 'more than one way' in str(caught.value)
        assert 'RFC 4514' in str(caught.value)
    else:
        assert 'empty value' in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', 'is empty'),
        ('   ', 'is empty'),
        ('CN=' + 'x' * 5000, 'exceeds'),
        ('CN=a\nb', 'control character'),
        ('CN=\x7f', 'control character'),
        ('CN=\ud800', 'control character'),
        (r'/CN=\x0a', 'control character'),
        ('Jo', 'expected TYPE=value'),
        ('/Jo', 'does not begin'),
        ('/what=ever', 'does not begin'),
        ('//CN=a', 'does not begin'),
        ('/', 'does not begin'),
        ('/CN=', 'empty value'),
        ('CN=', 'empty value'),
        ('CN=,C=DE', 'empty value'),
        ('what=ever', 'not known'),
        ('CN=a,', 'expected TYPE=value'),
        ('CN=a;C=DE', 'nothing'),
        ('CN = Jo', 'expected TYPE=value'),
        ('CN= Jo', 'blanks around'),
        ('CN="Jo"', 'must be escaped'),
        ('CN=a<b', 'must be escaped'),
        ('CN=a\\', 'escapes nothing'),
        ('CN=a\\z', 'escapes nothing'),
        (r'CN=\ff', 'not UTF-8'),
        ('CN=Jo+CN=Jo', 'repeats'),
        ('CN=#', 'hex digits'),
        ('CN=#0c', 'no text value'),
        ('CN=#0c024a', 'no DER string'),
        ('CN=#04024a6f', 'no text value'),
        ('CN=#1302c3bc', 'is no text'),
        ('CN=#0c02ffff', 'is no text'),
    ],
)
def test_what_is_no_name_is_refused(text, reason):
    if reason == 'nothing':
        # RFC 2253 allowed a semicolon as separator.
        assert names.parse(text) == names.parse('CN=a,C=DE')
        return
    with pytest.raises(names.NotAName, match=reason):
        names.parse(text)


def test_parts_of_several_attributes():
    expected = names.Name(
        (frozenset({(C, 'DE')}), frozenset({(CN, 'Jo'), (UID, 'jo')}))
    )
    assert names.parse('CN=Jo+UID=jo,C=DE') == expected
    assert names.parse('UID=jo + CN=Jo, C=DE'.replace(' +', '+')) == expected
    assert expected != names.parse('/C=DE/CN=Jo/UID=jo')
    assert names.parse(expected.rfc4514()) == expected


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        ('a,b', r'CN=a\,b'),
        (' a ', r'CN=\ a\ '),
        ('#a', r'CN=\#a'),
        ('a"+;<>\\', r'CN=a\"\+\;\<\>\\'),
        ('a\nb', r'CN=a\0Ab'),
        (' ', r'CN=\ '),
        ('\u2028', r'CN=\E2\80\A8'),
        ('Ümläut', 'CN=Ümläut'),
    ],
)
def test_escapes_of_rfc_4514(value, text):
    name = _name((CN, value))
    assert name.rfc4514() == text == str(name)
    assert names.parse(text) == name


def test_unknown_type_is_written_as_its_number():
    name = _name(('1.2.3.4', 'x'))
    assert name.rfc4514() == '1.2.3.4=x'
    assert names.parse('1.2.3.4=x') == name == names.parse('/1.2.3.4=x')


def test_normalised_for_chaining_only():
    loud = _name((C, 'de'), (O, ' GRID '), (CN, 'J\t o'))
    calm = _name((C, 'DE'), (O, 'grid'), (CN, 'j O'))
    assert loud.normalised() == calm.normalised()
    assert loud != calm
    assert _name((CN, 'Ü')).normalised() != _name((CN, 'ü')).normalised()


def test_certificate_names():
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, 'DE'),
            x509.NameAttribute(
                x509.NameOID.X500_UNIQUE_IDENTIFIER,
                b'\x00\x01',
                x509.name._ASN1Type.BitString,
            ),
        ]
    )
    assert names.from_x509(name).slash() == (
        '/C=DE/x500UniqueIdentifier=#0001'
    )
    with pytest.raises(names.NotAName, match='empty name'):
        names.from_x509(x509.Name([]))


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        (r'/CN=Jo \xC3\xA9 Doe', 'Jo é Doe'),
        (r'CN=a\,  ', 'a,'),
        ('CN=X1X', 'X1X'),
        ('/CN=X1X', 'X1X'),
        ('/CN=a=b', 'a=b'),
        ('/CN=host/www', 'host/www'),
        ('/CN=a/b c=d', 'a/b c=d'),
        ('/CN=Jo\u2003', 'Jo\u2003'),
        ('CN=' + 'a' * 4093, 'a' * 4093),
        ('CN=#0C02C3A9', 'é'),
        ('CN=#16024A6F', 'Jo'),
        ('CN=#13014A', 'J'),
    ],
)
def test_value_is_read_whole(text, value):
    assert names.parse(text) == _name((CN, value))


@pytest.mark.parametrize(
    'text',
    [
        r'CN=\X',
        'XCN=Jo',
        '\u2003CN=Jo',
        'CN=' + 'a' * 4094,
        'CN=#1302C3A9',
        'CN=#17024A6F',
        'CN=#0C024A',
        'CN=#0C00',
    ],
)
def test_what_says_no_text_is_no_name(text):
    with pytest.raises(names.NotAName):
        names.parse(text)


@pytest.mark.parametrize(
    ('text', 'ambiguous', 'why'),
    [
        (r'/CN=a\x20b', True, r"'\\x20' stands for a plain letter"),
        (r'/CN=a\x7Eb', True, r"'\\x7E' stands for a plain letter"),
        (r'/CN=a\x7Fb', False, 'a control character'),
        (r'/CN=a\x1Fb', False, 'a control character'),
        (r'/CN=a\xC3b', True, r'the bytes \xHH are not UTF-8'),
        ('/CN=a/b=c', True, "'b' may be an attribute"),
        ('/CN=a+O=c', True, '"+O=" may join two attributes'),
        ('/CN=a ', False, None),
        ('/CN= a', True, 'begins or ends with a blank'),
    ],
)
def test_doubt_is_told_from_error_and_explained(text, ambiguous, why):
    if why is None:
        assert names.parse(text) == _name((CN, 'a'))
        return
    with pytest.raises(names.NotAName) as caught:
        names.parse(text)
    assert caught.value.ambiguous is ambiguous
    assert why in str(caught.value)


@pytest.mark.parametrize('value', ['a ', 'ab ', ' a', ' ', '  '])
def test_blanks_at_the_ends_are_written_so_that_they_are_read(value):
    written = _name((CN, value)).rfc4514()
    assert names.parse(written) == _name((CN, value)), written


@pytest.mark.parametrize('value', ['X1X', '\u20031', '1\u2003', 'É1'])
def test_chaining_takes_off_blanks_alone(value):
    assert _name((CN, value)).normalised() == _name(
        (CN, value.replace('X', 'x'))
    )
    assert _name((CN, f' {value}  ')).normalised() == _name(
        (CN, value.replace('X', 'x'))
    )
