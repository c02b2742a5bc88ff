// The pairs to come: fetched before they are needed, and their leases renewed while the page is looked at.

export const AHEAD = 2; // pairs fetched before they are needed
const RENEW = 4 * 60 * 1000; // ms; leases run 15 minutes

export class Supply {
  constructor(desk) {
    this.desk = desk;
  }

  start() {
    this.topUp();
    this.beat = setInterval(() => document.visibilityState === "visible" && this.renew(), RENEW);
  }

  stop() {
    clearInterval(this.beat);
  }

  async topUp() {
    if (this.fetching || this.desk.queue.length > AHEAD) return;
    this.fetching = true;
    const reply = await this.lease(AHEAD + 1 - this.desk.queue.length);
    this.fetching = false;
    if (!reply.ok) {
      this.desk.show();
      if (!reply.signedOut) setTimeout(() => this.topUp(), 3000);
      return;
    }
    const fresh = this.take(reply.body.html);
    this.desk.queue.push(...fresh);
    if (!fresh.length && this.desk.outbox.size && !this.desk.queue.length) {
      // What was answered is not counted yet; the server may still think this person holds it.
      await this.desk.outbox.flush();
    }
    this.desk.exhausted = !this.desk.queue.length && !fresh.length;
    this.adopt(reply);
    this.desk.show();
    if (this.desk.exhausted) this.desk.announce(this.desk.words.finished);
  }

  async lease(n) {
    const have = [...this.desk.queue, ...this.desk.answered].map((one) => one.dataset.assignment).join(",");
    const settled = !this.desk.outbox.size;
    const reply = await this.desk.request(this.desk.dataset.nextUrl, { n, have, guideline: this.desk.guide.version });
    this.desk.guide.hear(reply.body?.guide);
    return { ...reply, settled };
  }

  async renew() {
    const reply = await this.lease(0);
    if (!reply.ok) return;
    const held = new Set(reply.body.held.map(String));
    const pending = this.desk.outbox.pending();
    const lost = this.desk.queue.filter((one) => !held.has(one.dataset.assignment) && !pending.has(one.dataset.assignment));
    const wasCurrent = lost.includes(this.desk.current);
    this.desk.queue = this.desk.queue.filter((one) => !lost.includes(one));
    for (const one of lost) one.remove();
    this.adopt(reply);
    if (!wasCurrent) return;
    this.desk.show();
    this.desk.notice(this.desk.words.given);
    this.topUp();
  }

  // The server's count, if all that was said here was in it when it was asked for.
  adopt({ body, settled }) {
    if (!settled || this.desk.outbox.size) return;
    this.desk.done = body.progress.done;
    this.desk.total = body.progress.total;
    this.desk.minutes = body.progress.minutes_left;
    this.desk.showProgress();
  }

  take(html) {
    const fragment = document.createRange().createContextualFragment(html);
    const known = new Set([...this.desk.queue, ...this.desk.answered].map((one) => one.dataset.assignment));
    const articles = [...fragment.querySelectorAll("[data-pair]")].filter((one) => !known.has(one.dataset.assignment));
    this.desk.stage.append(...articles);
    return articles;
  }
}
