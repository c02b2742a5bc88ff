// Passages of a text, between its source and what Markdown made of it: where what is selected stands in the source, and
// the other way round. A passage is [start, end) in the source, in UTF-16 units, as scripts count; what is kept and sent
// counts code points (`toPoints`, `toUnits`).
//
// Markdown keeps the words of a text in their order and drops signs between them. So each word of the rendered text is
// looked for in the source after the one before; where other words stand between (a link's address, the language of a
// code block, an escaped sign), they are skipped by what they are.

const WORDY = /[\p{L}\p{N}]/u;
const LIST_NUMBER = /^[ \t>]*\d{1,9}[.)](?=\s)/gm; // counted, but not part of the rendered text
const IN_WORD = /^[\p{sc=Latin}\p{sc=Cyrillic}\p{sc=Greek}\p{Nd}]{2}$/u; // of scripts with blanks between words
const SIGNS = "\\*_~`";
const ENTITY = /&(?:#x?[0-9a-f]{1,7}|[a-z0-9]{2,31});/iy;
const FENCE = /[ \t>]*(?:[-*+]|\d{1,9}[.)])?[ \t>]*(?:`{3,}|~{3,})[^\n]*(?:\n|$)/y;
const NOT_TEXT = "copy-button, .visually-hidden, .text-empty, .text-cut, .math-error";
const BLOCKS = "p, li, h1, h2, h3, h4, h5, h6, td, th, pre, blockquote, div";
const decoder = document.createElement("textarea");

// Text nodes and formulas, in order. A formula is one word, as written in its source.
export function leavesOf(node, found = []) {
  for (const child of node.childNodes) {
    if (child.nodeType === Node.TEXT_NODE || child.matches?.(".math")) found.push(child);
    else if (!child.matches?.(NOT_TEXT)) leavesOf(child, found);
  }
  return found;
}

export const textOf = (leaf) => (leaf.nodeType === Node.TEXT_NODE ? leaf.data : (leaf.dataset.source ?? leaf.textContent));

const isQuiet = (text) => !WORDY.test(text.replace(LIST_NUMBER, ""));

class Aligner {
  constructor(source) {
    this.source = source;
    this.at = 0; // up to here the source is read
    this.leaves = []; // {leaf, places}: for each character of the leaf its place in the source, -1 where it has none
  }

  walk(node) {
    for (const child of node.childNodes) {
      if (child.nodeType === Node.TEXT_NODE) this.words(child);
      else if (child.matches?.(".math")) this.whole(child);
      else if (child.nodeType !== Node.ELEMENT_NODE || child.matches(NOT_TEXT)) continue;
      else if (child.matches(".no-image")) this.image();
      else {
        if (child.matches("pre")) this.fence();
        this.walk(child);
        if (child.matches("a")) this.destination();
      }
    }
  }

  words(leaf) {
    const places = new Array(leaf.data.length).fill(-1);
    for (const { 0: word, index } of leaf.data.matchAll(/\S+/g)) {
      const found = this.word(word);
      if (!found) continue;
      found.forEach((place, i) => (places[index + i] = place));
      this.at = found.end;
    }
    this.leaves.push({ leaf, places });
  }

  // The place of each character of the next such word, and where it ends.
  word(word) {
    const next = this.source.indexOf(word, this.at);
    if (next >= 0 && isQuiet(this.source.slice(this.at, next))) return this.run(next, word.length);
    for (let start = this.at; start < this.source.length; start++) {
      const found = this.spelt(word, start);
      if (found) return found;
      if (WORDY.test(this.source[start]) && !/^\d/.test(this.source.slice(start))) break;
    }
    return next >= 0 ? this.run(next, word.length) : null;
  }

  run(start, length) {
    return Object.assign(Array.from({ length }, (_, i) => start + i), { end: start + length });
  }

  // The same word as the source may spell it: with signs between its letters, escaped, or as entities.
  spelt(word, start) {
    const places = [];
    let at = start;
    for (const sign of word) {
      while (this.source.codePointAt(at) !== sign.codePointAt(0)) {
        ENTITY.lastIndex = at;
        const entity = ENTITY.exec(this.source)?.[0];
        if (entity && this.decoded(entity) === sign) break;
        if (!SIGNS.includes(this.source[at]) || at >= this.source.length || at === start) return null;
        at++;
      }
      ENTITY.lastIndex = at;
      const entity = ENTITY.exec(this.source)?.[0];
      for (let i = 0; i < sign.length; i++) places.push(at + (entity ? 0 : i));
      at += entity && this.decoded(entity) === sign ? entity.length : sign.length;
    }
    return Object.assign(places, { end: at });
  }

  decoded(entity) {
    decoder.innerHTML = entity;
    return decoder.value;
  }

  whole(leaf) {
    const text = textOf(leaf);
    const start = this.source.indexOf(text, this.at);
    if (start >= 0) this.at = start + text.length;
    this.leaves.push({ leaf, places: start < 0 ? new Array(text.length).fill(-1) : [...this.run(start, text.length)] });
  }

  image() {
    const start = this.source.indexOf("![", this.at);
    if (start < 0) return;
    const end = this.source.indexOf("]", start);
    this.at = end < 0 ? start + 2 : end;
    this.destination();
  }

  // After the words of a link: its address and title, or the name of its reference.
  destination() {
    let at = this.at;
    while (SIGNS.includes(this.source[at])) at++;
    if (this.source[at] !== "]") return;
    if (this.source[at + 1] === "[") this.at = this.source.indexOf("]", at + 2) + 1 || at + 1;
    if (this.source[at + 1] !== "(") return;
    let depth = 0;
    for (let i = at + 1; i < this.source.length; i++) {
      if (this.source[i] === "\\") i++;
      else if (this.source[i] === "(") depth++;
      else if (this.source[i] === ")" && --depth === 0) return (this.at = i + 1);
    }
  }

  // The line that opens a block of code names its language.
  fence() {
    let at = this.at;
    while (at < this.source.length && isQuiet(this.source.slice(this.at, at))) {
      FENCE.lastIndex = at;
      if (FENCE.test(this.source)) return (this.at = FENCE.lastIndex);
      const line = this.source.indexOf("\n", at);
      if (line < 0) return;
      at = line + 1;
    }
  }
}

// A text on the page beside its source.
export class Passages {
  constructor(root, source) {
    this.root = root;
    this.source = source;
    this.read();
  }

  read() {
    if (this.root.matches("[data-raw]")) {
      let at = 0; // it is the source itself
      this.leaves = leavesOf(this.root).map((leaf) => ({ leaf, places: Array.from({ length: leaf.length }, () => at++) }));
      return;
    }
    const aligner = new Aligner(this.source);
    aligner.walk(this.root);
    this.leaves = aligner.leaves;
  }

  // The passage that a selection holds; null where it holds no word of the text.
  passageOf(range) {
    let [start, end] = [Infinity, -1];
    for (const { leaf, places } of this.leaves) {
      if (!range.intersectsNode(leaf)) continue;
      const isText = leaf.nodeType === Node.TEXT_NODE;
      const from = isText && range.startContainer === leaf ? range.startOffset : 0;
      const to = isText && range.endContainer === leaf ? range.endOffset : places.length;
      for (let i = from; i < to; i++) {
        if (places[i] < 0) continue;
        start = Math.min(start, places[i]);
        end = Math.max(end, places[i] + 1);
      }
    }
    return start < end ? this.trimmed(start, end) : null;
  }

  trimmed(start, end) {
    const text = this.source.slice(start, end);
    const [from, to] = [start + (text.length - text.trimStart().length), end - (text.length - text.trimEnd().length)];
    return from < to ? [from, to] : null;
  }

  // The same passage with whole words at both ends, as a drag of the mouse seldom ends at one.
  wholeWords([start, end]) {
    const isInside = (at) => at > 0 && IN_WORD.test(this.source.slice(at - 1, at + 1));
    while (isInside(start)) start--;
    while (isInside(end)) end++;
    return [start, end];
  }

  // What to select on the page for a passage.
  rangeOf([start, end]) {
    const range = document.createRange();
    let isBegun = false;
    for (const { leaf, places } of this.leaves) {
      const isText = leaf.nodeType === Node.TEXT_NODE;
      const within = (place) => place >= start && place < end;
      const [first, last] = [places.findIndex(within), places.findLastIndex(within)];
      if (first < 0) continue;
      if (!isBegun) isText ? range.setStart(leaf, first) : range.setStartBefore(leaf);
      isText ? range.setEnd(leaf, last + 1) : range.setEndAfter(leaf);
      isBegun = true;
    }
    return isBegun ? range : null;
  }

  // The passages that its sentences, or words, are, in order.
  pieces(granularity) {
    const found = [];
    for (const block of this.blocks()) {
      const text = block.map(({ leaf }) => textOf(leaf)).join("");
      const places = block.flatMap((one) => one.places);
      for (const [from, to] of segments(text, granularity)) {
        const inside = places.slice(from, to).filter((place) => place >= 0);
        if (inside.length) found.push([Math.min(...inside), Math.max(...inside) + 1]);
      }
    }
    return found;
  }

  // The sentence at a point of the window; undefined where no text is.
  sentenceAt(x, y) {
    const caret = document.caretPositionFromPoint?.(x, y);
    const range = caret ? null : document.caretRangeFromPoint?.(x, y);
    const [node, offset] = caret ? [caret.offsetNode, caret.offset] : [range?.startContainer, range?.startOffset];
    const found = node && this.leaves.find(({ leaf }) => leaf.contains(node));
    const place = found && (found.places.slice(found.leaf === node ? offset : 0).find((one) => one >= 0) ?? found.places.findLast((one) => one >= 0));
    return this.pieces("sentence").find(([start, end]) => start <= place && place < end);
  }

  // Leaves of one block are read together: a sentence may have words in bold.
  blocks() {
    const found = [];
    let last = null;
    for (const one of this.leaves) {
      const block = one.leaf.parentElement.closest(BLOCKS);
      if (block !== last) found.push([]);
      last = block;
      found.at(-1).push(one);
    }
    return found;
  }

  // Draws marks ({span, kind, words}) in place of those that are drawn.
  draw(marks) {
    this.clear();
    if (!marks.length) return;
    for (const block of this.blocks()) {
      const over = covering(block.flatMap(({ places }) => places), marks);
      for (const { leaf, places } of block) drawIn(leaf, over.splice(0, places.length));
    }
    this.read();
  }

  clear() {
    if (clearDrawn(this.root)) this.read();
  }
}

// Takes drawn marks out of a text; returns whether there were any.
export function clearDrawn(root) {
  const drawn = [...root.querySelectorAll("mark.passage")];
  for (const mark of drawn) mark.replaceWith(...mark.childNodes);
  if (drawn.length) root.normalize();
  for (const formula of root.querySelectorAll(".math.passage")) formula.classList.remove("passage", "is-good", "is-bad");
  return drawn.length > 0;
}

function segments(text, granularity) {
  const pieces = [];
  const lines = granularity === "sentence" ? text.matchAll(/[^\n]+/g) : [{ 0: text, index: 0 }];
  for (const { 0: line, index } of lines) {
    if (globalThis.Intl?.Segmenter) {
      for (const one of new Intl.Segmenter(undefined, { granularity }).segment(line)) {
        if (granularity === "sentence" || one.isWordLike) pieces.push([index + one.index, index + one.index + one.segment.length]);
      }
      continue;
    }
    const pattern = granularity === "sentence" ? /[^.!?]+[.!?]*/g : /[\p{L}\p{N}'’]+/gu;
    for (const one of line.matchAll(pattern)) pieces.push([index + one.index, index + one.index + one[0].length]);
  }
  return pieces;
}

// The marks over each place; a blank between two words of a passage is part of it.
function covering(places, marks) {
  const covers = ({ span }, place) => place >= span[0] && place < span[1];
  const over = places.map((place) => (place < 0 ? null : marks.filter((mark) => covers(mark, place))));
  let after = [];
  for (let i = over.length - 1; i >= 0; i--) {
    if (over[i]) after = over[i];
    else over[i] = { after };
  }
  over.forEach((found, i) => {
    if (!Array.isArray(found)) over[i] = (over[i - 1] ?? []).filter((mark) => found.after.includes(mark));
  });
  return over;
}

function drawIn(leaf, over) {
  if (!over.some((found) => found.length)) return;
  if (leaf.nodeType !== Node.TEXT_NODE) return leaf.classList.add("passage", ...new Set(over[0].map(({ kind }) => `is-${kind}`)));
  const runs = [];
  over.forEach((found, i) => {
    const same = runs.at(-1) && runs.at(-1).found.length === found.length && found.every((mark) => runs.at(-1).found.includes(mark));
    if (same) runs.at(-1).text += leaf.data[i];
    else runs.push({ found, text: leaf.data[i] });
  });
  leaf.replaceWith(...runs.map(({ found, text }) => (found.length ? drawn(text, found) : text)));
}

function drawn(text, found) {
  const mark = document.createElement("mark");
  mark.classList.add("passage", ...new Set(found.map(({ kind }) => `is-${kind}`)));
  mark.title = found.map(({ words }) => words).join("; ");
  mark.textContent = text;
  return mark;
}

export const toPoints = (text, unit) => [...text.slice(0, unit)].length;

export function toUnits(text, point) {
  let unit = 0;
  for (let n = 0; n < point && unit < text.length; n++) unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
  return unit;
}
