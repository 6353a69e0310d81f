#!/usr/bin/env bash
# Opens loss.svg and the report of a comparison in a headless browser, 800 pixels wide, and checks that no text of a chart lies on other text or is cut, and that
# tables fit the page.
#   tests/report-test.sh CLI      CLI: the built tool; BROWSER: Chromium's command (chromium)
set -euo pipefail
cli=$(realpath "$1")
browser=${BROWSER:-chromium}
command -v "$browser" >/dev/null || { echo "report-test: $browser is not installed (Debian: apt-get install chromium)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tiny=(--preset tiny --steps 24 --eval-interval 8 --eval-batches 1)
"$cli" train "${tiny[@]}" --out "$work/run" >/dev/null
"$cli" compare "${tiny[@]}" --optimizers adamw,apollo:rank=4:update_projection_gap=50,sgd --lr 1e-3,2e-3,3e-3 sgd=1e-1,1e5 --seeds 2 --out "$work/few" >/dev/null
"$cli" compare "${tiny[@]}" --optimizers adamw,adam,came,apollo:rank=4:update_projection_gap=50,apollo-mini,lamb,adafactor,galore:rank=2,fira:rank=2,muon,lion,adam-mini \
  --lr 1e-3 --out "$work/many" >/dev/null

script=$(cat <<'JS'
<script>
addEventListener("load", () => {
  const problems = [], name = item => JSON.stringify(item.textContent);
  let texts = 0;
  for (const svg of document.querySelectorAll("svg")) {
    const outer = svg.getBoundingClientRect(), boxes = [...svg.querySelectorAll("text")].map(item => [item, item.getBoundingClientRect()]);
    texts += boxes.length;
    boxes.forEach(([item, box], i) => {
      if (box.left < outer.left - 1 || box.right > outer.right + 1 || box.top < outer.top - 1 || box.bottom > outer.bottom + 1) problems.push(name(item) + " leaves its chart");
      const clip = item.closest("[clip-path]");
      if (clip) {
        const shape = document.querySelector(clip.getAttribute("clip-path").slice(4, -1)).firstElementChild, scale = outer.width / svg.viewBox.baseVal.width || 1;
        if (box.right > outer.left + scale * (+shape.getAttribute("x") + +shape.getAttribute("width")) + 1) problems.push(name(item) + " is cut");
      }
      for (const [other, box2] of boxes.slice(i + 1))
        if (Math.min(box.right, box2.right) - Math.max(box.left, box2.left) > 1 && Math.min(box.bottom, box2.bottom) - Math.max(box.top, box2.top) > 3) problems.push(name(item) + " lies on " + name(other));
    });
  }
  for (const wide of [document.documentElement, ...document.querySelectorAll(".wide")])
    if (wide.scrollWidth > wide.clientWidth + 1) problems.push(wide.tagName + " is " + (wide.scrollWidth - wide.clientWidth) + " pixels too wide");
  document.title = texts < 10 ? "no text" : problems.join("; ") || "all text is apart, " + texts;
});
</script>
JS
)
check() {
  local title
  { cat "$2"; echo "$script"; } >"$work/page.html"
  title=$("$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" --window-size=800,2000 --virtual-time-budget=3000 --dump-dom "file://$work/page.html" 2>/dev/null |
    grep -Eo '<title>[^<]*' | head -n 1)
  case $title in
    '<title>all text is apart'*) ;;
    *) echo "report-test: $1: ${title#<title>}"; exit 1 ;;
  esac
}
svg() { echo '<!DOCTYPE html><html><head><title></title></head><body style="margin:0">'; sed -E 's/<\?xml[^>]*>//; s/<!DOCTYPE[^>]*>//' "$1"; echo '</body></html>'; }
svg "$work/run/loss.svg" >"$work/loss.html"
svg "$work/many/curves.svg" >"$work/curves.html"
grep -q 'learning rate' "$work/run/loss.svg" || { echo "report-test: loss.svg has no axis of learning rates"; exit 1; }
check "loss.svg" "$work/loss.html"
check "curves.svg of twelve optimizers" "$work/curves.html"
check "the report of three optimizers" "$work/few/report.html"
check "the report of twelve optimizers" "$work/many/report.html"
echo "report-test: two charts and two reports have no text that is cut or lies on other text"
