// SPDX-License-Identifier: Apache-2.0
// Keeps a Topology equal to the API's: all of it once, then what the watch says has changed.

import { get, getIfThere, lines, Refused } from "./api.js";
import { KINDS } from "./words.js";

const SILENCE_MS = 15_000; // the server says something each 5 s
const POLL_MS = 5_000;
const BACKENDS_MS = 10_000;
const SHORTEST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Feed {
  /**
   * `onChange(told)` is called after each change, with the time when the watch told of it or 0; `onState(state, words)`
   * with "live", "polling", "lost" or "refused"; `onRefused(error)` when who asks must say who they are.
   */
  constructor(topology, { onChange, onState, onRefused }) {
    Object.assign(this, { topology, onChange, onState, onRefused });
    this.pulling = null;
    this.isStale = false;
    this.isIn = false; // whether the last request was answered: one that is refused would have the browser ask again
    this.failure = null;
    this.ending = new AbortController();
    this.told = 0;
  }

  /** Follow until the page is left. */
  async follow() {
    setInterval(() => this.isIn && this.readBackends(), BACKENDS_MS);
    for (let pause = SHORTEST_PAUSE_MS; ; ) {
      try {
        this.failure = null;
        await this.pull(0);
        this.isIn = true;
        this.readBackends();
        pause = SHORTEST_PAUSE_MS;
        await this.watch();
        throw new Error("the server ended the watch");
      } catch (error) {
        this.isIn = false;
        if (await this.isAnswered(this.failure ?? error)) continue;
      }
      await sleep(pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
  }

  /** Tell what has gone wrong; whether somebody has signed in since. */
  async isAnswered(error) {
    if (!(error instanceof Refused && error.status === 401)) {
      this.onState("lost", error.name === "AbortError" ? "the server went silent" : error.message);
      return false;
    }
    this.onState("refused", "signed out");
    await this.onRefused(error);
    return true;
  }

  async watch() {
    this.ending = new AbortController();
    try {
      for await (const some of lines(`/portico/v1/watch?since=${this.topology.revision}`, SILENCE_MS, this.ending)) {
        this.onState("live", "");
        if (some.some((line) => JSON.parse(line).resource in KINDS)) {
          this.told ||= performance.now();
          this.refresh();
        }
      }
    } catch (error) {
      if (!(error instanceof Refused && error.status === 403)) throw error;
      this.onState("polling", "");
      for (;;) {
        await sleep(POLL_MS);
        await this.pull(0);
      }
    }
  }

  /** Read what has changed; what changes while that is under way is read by one more request. */
  refresh() {
    this.isStale = true;
    this.pulling ??= (async () => {
      try {
        while (this.isStale) {
          this.isStale = false;
          await this.pull(this.topology.revision);
        }
      } catch (error) {
        this.failure = error;
        this.ending.abort();
      } finally {
        this.pulling = null;
      }
    })();
  }

  async pull(since) {
    const answer = await this.read(since ? `?since=${since}` : "");
    const told = this.told;
    this.told = 0;
    this.topology.take(answer);
    this.onChange(told);
  }

  /** Read an answer that comes in pages; only its first one can be all there is. */
  async read(search) {
    const path = "/portico/v1/topology";
    const answer = await get(`${path}${search}`);
    for (let page = answer; page.topology_links; ) {
      page = await get(`${path}${new URL(page.topology_links[0].href).search}`);
      for (const { collection } of Object.values(KINDS)) answer[collection]?.push(...(page[collection] ?? []));
      Object.assign(answer.reasons, page.reasons);
    }
    return answer;
  }

  async readBackends() {
    try {
      const answer = await getIfThere("/portico/v1/backends");
      if (answer && this.topology.takeBackends(answer.backends)) this.onChange(0);
    } catch {
      // The watch tells when the server is away.
    }
  }
}
