"use strict";
// Filters, search and keys. Without this script everything is shown.
const cards = [...document.querySelectorAll("article")];
const search = document.getElementById("search");
const selects = ["kind", "format", "why"].map((name) => document.getElementById(name)).filter(Boolean);
const controls = search ? [...selects, search] : [];
const count = document.getElementById("count");
const live = document.getElementById("live");

function fits(card, words) {
  const text = words.length ? card.textContent.toLowerCase() : "";
  return words.every((word) => text.includes(word)) &&
    selects.every((one) => !one.value || card.dataset[one.id].split("\n").includes(one.value));
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    card.hidden = !fits(card, words);
    shown += !card.hidden;
  }
  count.textContent = `${shown} of ${cards.length} shown`;
  if (live) sessionStorage.setItem("controls", JSON.stringify(controls.map((one) => one.value)));
}

function move(step) {
  const open = cards.filter((card) => !card.hidden);
  const at = open.indexOf(document.activeElement.closest("article"));
  const next = open[at < 0 ? (step > 0 ? 0 : open.length - 1) : at + step];
  if (next) { next.focus(); next.scrollIntoView({ block: "start" }); }
}

// A page that looks again takes its filters along; the browser keeps the place.
if (live) {
  const before = JSON.parse(sessionStorage.getItem("controls") || "[]");
  controls.forEach((one, at) => { one.value = before[at] || ""; });
  live.checked = sessionStorage.getItem("live") !== "off";
  live.addEventListener("change", () => sessionStorage.setItem("live", live.checked ? "on" : "off"));
  setInterval(() => { if (live.checked) location.reload(); }, 1000 * live.dataset.seconds);
}

for (const control of controls) control.addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (!search || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { document.activeElement.blur(); return; }
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "/") { event.preventDefault(); search.focus(); }
});
if (search) filter();
