"use strict";
// The data: sets[name] = [{id, words, errors, length, seconds, audio, flags, others: [[system, errors, words], ...]}, ...]
// with words = [[letter, word of the reference, word of the hypothesis], ...], "" for a gap.
const sets = JSON.parse(document.getElementById("data").textContent);
const PAGE = 50;
const PLAYABLE = /^data:|\.(wav|flac|mp3|ogg|oga|opus|m4a|mp4|aac|webm)(#|$)/i;
const ruler = document.createElement("canvas").getContext("2d");
const [form, list, found, more] = ["form", "list", "found", "more"].map((id) => document.getElementById(id));
const rate = (utterance) => utterance.errors / Math.max(1, utterance.length);
const difference = (utterance) => Math.max(0, ...utterance.others.map(([, errors]) => Math.abs(utterance.errors - errors)));
const plural = (number, unit) => `${number} ${unit}${number === 1 ? "" : "s"}`;
const orders = {
  difference: (a, b) => difference(b) - difference(a),
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

// Return the words of the reference and, by position, the aligned letter and word and the words inserted before it.
function slots(words) {
  const found = { ref: [], aligned: [], inserted: [[]] };
  for (const [letter, refWord, hypWord] of words) {
    if (letter === "I") {
      found.inserted[found.ref.length].push(hypWord);
    } else {
      found.ref.push(refWord);
      found.aligned.push([letter, hypWord]);
      found.inserted.push([]);
    }
  }
  return found;
}

// Return columns [reference, [letter, word] of each system, ...] for systems with the same reference.
function mergedColumns(systems) {
  const columns = [];
  for (let k = 0; k <= systems[0].ref.length; k++) {
    const most = Math.max(...systems.map((system) => system.inserted[k].length));
    for (let i = 0; i < most; i++) {
      columns.push(["", ...systems.map(({ inserted }) => (i < inserted[k].length ? ["I", inserted[k][i]] : ["", ""]))]);
    }
    if (k < systems[0].ref.length) columns.push([systems[0].ref[k], ...systems.map(({ aligned }) => aligned[k])]);
  }
  return columns;
}

// Return the width of a text in a cell (pixels), with padding.
const widthOf = (text) => ruler.measureText(text).width + 8;

// Append tables of a reference and its systems, each as wide as the page allows.
function appendAligned(parent, systems) {
  const labels = ["reference", ...systems.map(({ label }) => label)];
  ruler.font = `${getComputedStyle(list).fontSize} ${getComputedStyle(list).fontFamily}`;
  const room = 0.97 * (list.clientWidth / 0.85) - Math.min(list.clientWidth / 4, Math.max(...labels.map(widthOf)));
  let columns = mergedColumns(systems);
  while (columns.length) {
    let number = 0;
    let used = 0;
    while (number < columns.length && (number === 0 || used < room)) {
      const [refWord, ...cells] = columns[number];
      used += Math.max(widthOf(refWord), ...cells.map(([, hypWord]) => widthOf(hypWord)));
      number += 1;
    }
    if (used >= room && number > 1) number -= 1;
    const table = document.createElement("table");
    labels.forEach((label, row) => {
      const line = table.insertRow();
      line.append(Object.assign(element("th", label), { title: label, scope: "row" }));
      for (const column of columns.slice(0, number)) {
        const [letter, hypWord] = row ? column[row] : ["", column[0]];
        line.append(element("td", hypWord || (letter === "D" || letter === "O" ? "\u00b7" : ""), letter));
      }
    });
    parent.append(table);
    columns = columns.slice(number);
  }
}

function alignment(utterance) {
  const made = element("div", "", "alignment");
  const systems = [[EXPERIMENT, utterance.errors, utterance.words], ...utterance.others];
  const groups = new Map(); // systems by reference, which can differ if a transcript accepts several wordings
  for (const [label, errors, words] of systems) {
    const system = { label: systems.length > 1 ? `${label} (${errors})` : "hypothesis", ...slots(words) };
    const key = JSON.stringify(system.ref);
    groups.set(key, [...(groups.get(key) ?? []), system]);
  }
  for (const group of groups.values()) appendAligned(made, group);
  return made;
}

function player(address) {
  const refusal = (reason) => element("p", `Audio: ${reason}.`, "S");
  if (!PLAYABLE.test(address)) {
    const format = address.split("#")[0].split(".").pop();
    return refusal(`a browser cannot play .${format} files; write the report with --embed_audio`);
  }
  const made = document.createElement("audio");
  made.addEventListener("error", () => made.replaceWith(refusal("the file is missing, or this browser cannot play it")));
  return Object.assign(made, { controls: true, preload: "none", src: address });
}

function article(utterance) {
  const made = document.createElement("article");
  const header = document.createElement("header");
  header.append(element("strong", utterance.id));
  header.append(element("span", `${plural(utterance.errors, "error")} in ${plural(utterance.length, "word")}`));
  if (utterance.seconds !== null) header.append(element("span", `${utterance.seconds.toFixed(1)} s`));
  for (const flag of utterance.flags) header.append(element("span", flag, "S"));
  made.append(header);
  if (utterance.audio) made.append(player(utterance.audio));
  made.append(alignment(utterance));
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
  const aligned = [utterance.words, ...utterance.others.map(([, , words]) => words)];
  const words = aligned.flat().flatMap(([, refWord, hypWord]) => [refWord, hypWord]);
  utterance.text = [utterance.id, ...utterance.flags, ...words].join(" ").toLowerCase();
}
for (const name of Object.keys(sets)) form.elements.set.append(new Option(name));
form.addEventListener("input", choose);
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", showMore);
let width = list.clientWidth;
window.addEventListener("resize", () => {
  if (list.clientWidth === width) return;
  width = list.clientWidth;
  choose();
});
choose();
