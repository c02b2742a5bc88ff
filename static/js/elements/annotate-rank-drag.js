// Drags an answer's letter with mouse, pen or finger: onto a box, between two boxes, or back to the pool.

const FAR = 6; // px; less is a click

export class Drag {
  // dropped(chip, place): the place is an element with data-box, data-gap or data-rank-pool.
  constructor(bar, dropped) {
    this.bar = bar;
    this.dropped = dropped;
    bar.addEventListener("pointerdown", (event) => this.start(event));
    bar.addEventListener("click", (event) => this.wasDragged && this.swallow(event), { capture: true });
  }

  start(event) {
    const chip = event.target.closest("[data-chip]");
    this.wasDragged = false;
    if (!chip || event.button) return;
    const from = { x: event.clientX, y: event.clientY };
    const ending = new AbortController();
    const on = (name, handler) => chip.addEventListener(name, handler, { signal: ending.signal });
    const end = () => {
      ending.abort();
      this.bar.classList.remove("is-dragging");
      chip.classList.remove("is-dragged");
      chip.style.translate = "";
      this.mark(null);
    };
    on("pointermove", (move) => {
      const [x, y] = [move.clientX - from.x, move.clientY - from.y];
      if (!this.wasDragged && Math.hypot(x, y) < FAR) return;
      if (!this.wasDragged) {
        this.wasDragged = true;
        chip.setPointerCapture(event.pointerId);
        this.bar.classList.add("is-dragging");
        chip.classList.add("is-dragged");
      }
      chip.style.translate = `${x}px ${y}px`;
      this.mark(this.under(move));
    });
    on("pointerup", (up) => {
      const place = this.wasDragged ? this.under(up) : null;
      end();
      if (place) this.dropped(chip, place);
    });
    on("pointercancel", end);
    on("lostpointercapture", end);
  }

  // The chip itself lets the pointer through (is-dragged).
  under({ clientX, clientY }) {
    return document.elementFromPoint(clientX, clientY)?.closest("[data-box], [data-gap], [data-rank-pool]") ?? null;
  }

  mark(place) {
    this.marked?.classList.remove("is-target");
    place?.classList.add("is-target");
    this.marked = place;
  }

  swallow(event) {
    this.wasDragged = false;
    event.preventDefault();
    event.stopPropagation();
  }
}
