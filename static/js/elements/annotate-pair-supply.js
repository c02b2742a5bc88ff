// The pairs to come: fetched before they are needed, many in one request, so that a session goes on without a
// connection; and their leases renewed while the page is looked at.

import { ANSWERS } from "./annotate-pair-outbox.js";

export const AHEAD = 20; // pairs after the one on the screen; the server gives no more at once
const LOW = 10; // when so few are left, more are asked for
const RENEW = 4 * 60 * 1000; // ms; leases run 15 minutes
const AGAIN = 3000; // ms, after a request that did not arrive

export class Supply {
  constructor(desk) {
    this.desk = desk;
    this.nGiven = 0; // pairs in the last reply
    this.isDry = false; // the server had fewer than were asked for
  }

  start() {
    this.topUp();
    this.beat = setInterval(() => document.visibilityState === "visible" && this.renew(), RENEW);
  }

  stop() {
    clearInterval(this.beat);
    clearTimeout(this.again);
  }

  // Whether the reply to the next answer should bring a pair.
  get takesOne() {
    return this.desk.queue.length <= AHEAD + 1;
  }

  // Called after an answer: at the end of the project, when nothing more comes, it asks only once nothing is left.
  refill() {
    if (this.desk.queue.length < (this.isDry ? 1 : LOW)) this.topUp();
  }

  async topUp() {
    const { desk } = this;
    if (this.fetching || desk.queue.length > AHEAD) return;
    this.fetching = true;
    clearTimeout(this.again);
    // what was answered and is not sent yet would be given again
    if (desk.outbox.size && navigator.onLine) await desk.outbox.flush();
    const n = AHEAD + 1 - desk.queue.length;
    const { nStops } = desk;
    const reply = await this.lease(n);
    this.fetching = false;
    // A reply from before annotation was stopped: its pairs have gone back, and it does not know why. The next one does.
    if (reply.ok && desk.nStops !== nStops) return this.topUp();
    if (!reply.ok) {
      if (!desk.current) desk.show();
      if (!reply.signedOut) this.again = setTimeout(() => this.topUp(), AGAIN);
      return;
    }
    const wasEmpty = !desk.current;
    const fresh = this.take(reply.body.html);
    this.isDry = this.nGiven < n;
    desk.queue.push(...fresh);
    if (!fresh.length && desk.outbox.size && !desk.queue.length) {
      // What was answered is not counted yet; the server may still think this person holds it.
      await desk.outbox.flush();
    }
    desk.exhausted = !desk.queue.length && !fresh.length;
    desk.stopped(desk.exhausted ? reply.body.stopped : "");
    this.adopt(reply);
    if (wasEmpty) desk.show();
    if (desk.exhausted) desk.announce(desk.words.finished);
  }

  async lease(n) {
    const { desk } = this;
    const have = [...desk.queue, ...desk.answered].map((one) => one.dataset.assignment).join(",");
    const settled = !desk.outbox.size;
    const reply = await desk.request(desk.dataset.nextUrl, { n, have, guideline: desk.guide.version });
    desk.guide.hear(reply.body?.guide);
    return { ...reply, settled };
  }

  async renew() {
    const { desk } = this;
    const reply = await this.lease(0);
    if (!reply.ok) return;
    const held = new Set(reply.body.held.map(String));
    const pending = desk.outbox.pending();
    const lost = desk.queue.filter((one) => !held.has(one.dataset.assignment) && !pending.has(one.dataset.assignment));
    const wasCurrent = lost.includes(desk.current);
    desk.queue = desk.queue.filter((one) => !lost.includes(one));
    for (const one of lost) one.remove();
    this.adopt(reply);
    if (!wasCurrent) return;
    desk.show();
    desk.notice(desk.words.given);
    this.topUp();
  }

  // The server's count, if all that was said here was in it when it was asked for.
  adopt({ body, settled }) {
    const { desk } = this;
    if (!settled || desk.outbox.size) return;
    desk.done = body.progress.done;
    desk.total = body.progress.total;
    desk.minutes = body.progress.minutes_left;
    desk.showProgress();
  }

  take(html) {
    const { desk } = this;
    const fragment = document.createRange().createContextualFragment(html);
    const known = new Set([...desk.queue, ...desk.answered].map((one) => one.dataset.assignment));
    for (const [assignment, kind] of desk.outbox.pending()) if (ANSWERS.has(kind)) known.add(assignment);
    const given = [...fragment.querySelectorAll("[data-pair]")];
    this.nGiven = given.length;
    const articles = given.filter((one) => !known.has(one.dataset.assignment));
    desk.stage.append(...articles);
    return articles;
  }
}
