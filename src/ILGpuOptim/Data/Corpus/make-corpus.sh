#!/usr/bin/env bash
# Makes king-james.txt.br again: the King James text as Debian's package bible-kjv prints it, one verse a line,
# an empty line between chapters, no numbers. Needs the packages bible-kjv and brotli.
set -euo pipefail
cd "$(dirname "$0")"
bible -f 'gen1:1-rev22:21' |
  awk '{
    chapter = $1; sub(/:.*/, "", chapter)
    if (NR > 1 && chapter != previous) print ""
    previous = chapter
    sub(/^[^ ]+ /, "")
    print
  }' >king-james.txt
brotli --best --force --output=king-james.txt.br king-james.txt
sha256sum king-james.txt
rm king-james.txt
