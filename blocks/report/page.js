"use strict";
// Filters, search and keys. Without this script everything is shown.
const cards = [...document.querySelectorAll("article")];
const controls = ["kind", "format", "why", "search"].map((name) => document.getElementById(name));
const [kind, format, why, search] = controls;
const count = document.getElementById("count");

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    const text = words.length ? card.textContent.toLowerCase() : "";
    const fits = (!kind.value || card.dataset.kind === kind.value) &&
      (!format.value || card.dataset.format === format.value) &&
      (!why.value || card.dataset.why.split("\n").includes(why.value)) &&
      words.every((word) => text.includes(word));
    card.hidden = !fits;
    shown += fits;
  }
  count.textContent = `${shown} of ${cards.length} shown`;
}

function move(step) {
  const open = cards.filter((card) => !card.hidden);
  const at = open.indexOf(document.activeElement);
  const next = open[at < 0 ? (step > 0 ? 0 : open.length - 1) : at + step];
  if (next) { next.focus(); next.scrollIntoView({ block: "start" }); }
}

for (const control of controls) control.addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { document.activeElement.blur(); return; }
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "/") { event.preventDefault(); search.focus(); }
});
filter();
