// Shows, in the two answers of a page, the passages that people marked: what `marks_drawn` (apps/rankings/selectors)
// wrote into the page, drawn once the answers are as they will be read.

import { Passages, toUnits } from "./passages.js";

const PLACES = { left: ".side-a [data-rendered]", right: ".side-b [data-rendered]" };

export function showMarked(root) {
  const given = root.querySelector("#marked-passages");
  for (const [answer, { source, marks }] of Object.entries(JSON.parse(given?.textContent ?? "{}"))) {
    const place = root.querySelector(PLACES[answer] ?? `[data-answer="${answer}"]`);
    const inUnits = marks.map((mark) => ({ ...mark, span: mark.span.map((point) => toUnits(source, point)) }));
    const draw = () => new Passages(place, source).draw(inUnits);
    draw();
    place.addEventListener("settext", draw);
  }
}
