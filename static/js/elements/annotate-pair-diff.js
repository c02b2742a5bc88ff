// Word by word: marks, in two rendered texts, the words that the other does not have in that place (jsdiff).

import "../../vendor/diff.min.js";
import { leavesOf, textOf } from "../passages.js";

const MOST_EDITS = 4000; // beyond it the texts are compared by their words, whatever the place
const segmenter = globalThis.Intl?.Segmenter && new Intl.Segmenter(undefined, { granularity: "word" });

function segments(text) {
  if (segmenter) return Array.from(segmenter.segment(text), (one) => one.segment);
  return text.match(/\s+|[\p{L}\p{N}_'’]+|[^\s\p{L}\p{N}_]/gu) ?? [];
}

// [{leaf, texts}]: the words and blanks of each leaf, in order.
const piecesOf = (root) =>
  leavesOf(root).map((leaf) => {
    const isText = leaf.nodeType === Node.TEXT_NODE;
    return { leaf, texts: isText ? segments(leaf.data) : [textOf(leaf)] };
  });

const isBlank = (text) => !text.trim();
const wordsOf = (pieces) => pieces.flatMap(({ texts }) => texts.filter((text) => !isBlank(text)));

// For each side, whether each of its words is missing on the other.
function differing(a, b) {
  const changes = globalThis.Diff.diffArrays(a, b, { maxEditLength: MOST_EDITS });
  if (!changes) {
    const [inA, inB] = [new Set(a), new Set(b)];
    return [a.map((word) => !inB.has(word)), b.map((word) => !inA.has(word))];
  }
  const marks = (own, other) =>
    changes.filter((change) => !change[other]).flatMap((change) => change.value.map(() => Boolean(change[own])));
  return [marks("removed", "added"), marks("added", "removed")];
}

function mark(pieces, differs) {
  let at = 0;
  for (const { leaf, texts } of pieces) {
    if (leaf.nodeType !== Node.TEXT_NODE) {
      if (differs[at++]) leaf.classList.add("is-differing");
      continue;
    }
    const runs = []; // {text, differs}; blanks go with the run before them
    for (const text of texts) {
      const isMarked = isBlank(text) ? (runs.at(-1)?.differs ?? false) : differs[at++];
      if (runs.length && runs.at(-1).differs === isMarked) runs.at(-1).text += text;
      else runs.push({ text, differs: isMarked });
    }
    leaf.replaceWith(...runs.flatMap((run) => (run.differs ? marked(run.text) : [run.text])));
  }
}

function marked(text) {
  const element = document.createElement("mark");
  element.textContent = text.trimEnd();
  return [element, text.slice(text.trimEnd().length)];
}

// Returns a copy of each of two rendered texts with what differs marked.
export function diffed(rendered) {
  const copies = rendered.map((one) => one.cloneNode(true));
  const pieces = copies.map(piecesOf);
  const differs = differing(...pieces.map(wordsOf));
  pieces.forEach((one, at) => mark(one, differs[at]));
  return copies;
}
