// Word by word: which words of each text the other does not have in that place (longest common subsequence).

const TOO_MANY = 4_000_000; // cells of the table; beyond it the texts are compared by their words, whatever the place

const words = (text) => text.match(/\s+|[\p{L}\p{N}_'’]+|[^\s\p{L}\p{N}_]/gu) ?? [];
const blank = (word) => /^\s+$/.test(word);

export function diffWords(left, right) {
  const a = words(left);
  const b = words(right);
  const as = a.filter((word) => !blank(word));
  const bs = b.filter((word) => !blank(word));
  const kept = as.length * bs.length > TOO_MANY ? shared(as, bs) : common(as, bs);
  return [pieces(a, kept[0]), pieces(b, kept[1])];
}

function common(as, bs) {
  const width = bs.length + 1;
  const table = new Uint16Array((as.length + 1) * width);
  for (let i = as.length - 1; i >= 0; i--) {
    for (let j = bs.length - 1; j >= 0; j--) {
      table[i * width + j] =
        as[i] === bs[j]
          ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const keptA = new Set();
  const keptB = new Set();
  let i = 0;
  let j = 0;
  while (i < as.length && j < bs.length) {
    if (as[i] === bs[j]) {
      keptA.add(i++);
      keptB.add(j++);
    } else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) i++;
    else j++;
  }
  return [keptA, keptB];
}

function shared(as, bs) {
  const inA = new Set(as);
  const inB = new Set(bs);
  const kept = (list, other) => new Set(list.flatMap((word, at) => (other.has(word) ? [at] : [])));
  return [kept(as, inB), kept(bs, inA)];
}

// Runs of text, each with whether the other side lacks it; blanks between two differing words differ too.
function pieces(list, kept) {
  const runs = [];
  let at = 0;
  for (const word of list) {
    const last = runs.at(-1);
    const differs = blank(word) ? (last?.differs ?? false) : !kept.has(at++);
    if (last && last.differs === differs) last.text += word;
    else runs.push({ text: word, differs });
  }
  return runs;
}

export function paint(container, runs) {
  container.replaceChildren(
    ...runs.flatMap(({ text, differs }) => {
      if (!differs) return [document.createTextNode(text)];
      const mark = document.createElement("mark");
      mark.textContent = text.trimEnd();
      return [mark, document.createTextNode(text.slice(text.trimEnd().length))];
    }),
  );
}
