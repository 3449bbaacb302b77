# SPDX-License-Identifier: Apache-2.0
#
# Reads or edits one option of an ini file, for the stand-ins of DevStack's
# functions: lines stay in their places, options in comments do not count, a
# missing section is added at the end.
#
# From the environment: ACTION (get, set, add, delete), SECTION, OPTION,
# VALUES (one a line).

function is_option(line) {
    return sub(/[ \t]*=.*$/, "", line) && line == ENVIRON["OPTION"]
}

function write_options(    n) {
    for (n = 1; n <= wanted; n++) {
        print ENVIRON["OPTION"] " = " value[n]
    }
    written = 1
}

BEGIN {
    header = "[" ENVIRON["SECTION"] "]"
}

/^\[/ {
    inside = $0 == header
    if (inside && !section) {
        section = NR
    }
}

inside && is_option($0) {
    known[++count] = $0
    sub(/^[^=]*=[ \t]*/, "", known[count])
    taken[NR] = 1
}

{
    line[NR] = $0
}

END {
    if (ENVIRON["ACTION"] == "get") {
        for (n = 1; n <= count; n++) {
            printf "%s%s", known[n], n < count ? " " : "\n"
        }
        exit count == 0
    }
    if (ENVIRON["ACTION"] == "add") {
        for (n = 1; n <= count; n++) {
            value[++wanted] = known[n]
        }
    }
    if (ENVIRON["ACTION"] != "delete") {
        added = split(ENVIRON["VALUES"], new, "\n")
        for (n = 1; n <= added; n++) {
            value[++wanted] = new[n]
        }
    }
    for (n = 1; n <= NR; n++) {
        if (!(n in taken)) {
            print line[n]
        }
        if (!written && (n in taken || (n == section && !count))) {
            write_options()
        }
    }
    if (!section && wanted) {
        print "\n" header
        write_options()
    }
}
