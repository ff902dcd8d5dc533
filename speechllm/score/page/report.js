"use strict";
// The data: sets[name] = [{id, words: [[letter, said, heard], ...], errors, length, seconds, audio, flags}, ...]
const sets = JSON.parse(document.getElementById("data").textContent);
const PAGE = 50;
const [form, list, found, more] = ["form", "list", "found", "more"].map((id) => document.getElementById(id));
const rate = (utterance) => utterance.errors / Math.max(1, utterance.length);
const orders = {
  errors: (a, b) => b.errors - a.errors || rate(b) - rate(a),
  rate: (a, b) => rate(b) - rate(a) || b.errors - a.errors,
  longest: (a, b) => (b.seconds ?? b.length) - (a.seconds ?? a.length),
  shortest: (a, b) => (a.seconds ?? a.length) - (b.seconds ?? b.length),
  id: (a, b) => (a.id < b.id ? -1 : 1),
};
let chosen = [];
let shown = 0;

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function column([letter, said, heard]) {
  const pair = element("span", "", letter);
  pair.append(element("i", said || "\u00b7", said ? "" : "empty"));
  if (letter !== "C") pair.append(element("i", heard || "\u00b7", heard ? "" : "empty"));
  return pair;
}

function article(utterance) {
  const made = document.createElement("article");
  const header = document.createElement("header");
  header.append(element("strong", utterance.id));
  header.append(element("span", `${utterance.errors} errors in ${utterance.length} words`));
  if (utterance.seconds !== null) header.append(element("span", `${utterance.seconds.toFixed(1)} s`));
  for (const flag of utterance.flags) header.append(element("span", flag, "S"));
  made.append(header);
  if (utterance.audio) {
    const player = document.createElement("audio");
    Object.assign(player, { controls: true, preload: "none", src: utterance.audio });
    made.append(player);
  }
  const alignment = element("div", "", "alignment");
  alignment.append(...utterance.words.map(column));
  made.append(alignment);
  return made;
}

function showMore() {
  list.append(...chosen.slice(shown, shown + PAGE).map(article));
  shown = Math.min(shown + PAGE, chosen.length);
  found.textContent = `${shown} of ${chosen.length} utterances shown`;
  more.hidden = shown === chosen.length;
}

function choose() {
  const wanted = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
  chosen = sets[form.elements.set.value]
    .filter((utterance) => wanted.every((word) => utterance.text.includes(word)))
    .sort(orders[form.elements.order.value]);
  shown = 0;
  list.replaceChildren();
  showMore();
}

for (const utterance of Object.values(sets).flat()) {
  const words = utterance.words.flatMap(([, said, heard]) => [said, heard]);
  utterance.text = [utterance.id, ...utterance.flags, ...words].join(" ").toLowerCase();
}
for (const name of Object.keys(sets)) form.elements.set.append(new Option(name));
form.addEventListener("input", choose);
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", showMore);
choose();
