#!/usr/bin/env bash
# Makes plain text from documentation packages of Debian, for comparisons of optimizers:
#
#   benchmarks/text/debian-text.sh FOLDER          FOLDER gets packages/*.deb, unpacked/, text/NAME.txt and versions.txt
#
# Needs apt-get, dpkg-deb and python3. Packages are downloaded and unpacked, not installed; those already in FOLDER/packages are used as they are.
# All are in Debian's main archive, whose packages are free software. The same packages give the same text, byte for byte.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?give a folder}
mkdir -p "$folder/packages" "$folder/unpacked"
cd "$folder"

# The order decides which of two equal paragraphs is kept.
packages="python3.11-doc postgresql-doc-15 git-doc perl-doc libreoffice-help-en-us python-django-doc cmake-doc dict-gcide dict-foldoc dict-wn
  sqlite3-doc nodejs-doc vim-doc ffmpeg-doc krb5-doc swi-prolog-doc clang-14-doc llvm-14-doc octave-doc bind9-doc apache2-doc debian-policy
  debian-reference-en developers-reference exim4-doc-html maxima-doc gap-doc linux-doc-6.1"

for package in $packages; do
  compgen -G "packages/${package}_*.deb" >/dev/null || (cd packages && apt-get download "$package")
done
: >versions.txt
for package in $packages; do
  file=$(compgen -G "packages/${package}_*.deb" | LC_ALL=C sort | tail -n 1)
  dpkg-deb --show --showformat='${Package} ${Version}\n' "$file" >>versions.txt
  [ -d "unpacked/$package" ] || { dpkg-deb --extract "$file" "unpacked/$package.part" && mv "unpacked/$package.part" "unpacked/$package"; }
done
python3 "$here/plain_text.py" unpacked text $packages
cat versions.txt
(cd text && sha256sum -- *.txt) | sha256sum | sed 's/-$/all of text/'
