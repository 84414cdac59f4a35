// SPDX-License-Identifier: Apache-2.0
// Keeps a Topology equal to the API's: all of it once, then what the watch says has changed.

import { get, getIfThere, lines, Refused } from "./api.js";
import { KINDS } from "./words.js";

const SILENCE_MS = 15_000; // the server says something each 5 s
const POLL_MS = 5_000;
const BACKENDS_MS = 10_000;
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
    this.failure = null;
    this.ending = new AbortController();
    this.told = 0;
  }

  /** Follow until the page is left. */
  async follow() {
    setInterval(() => this.readBackends(), BACKENDS_MS);
    for (let pause = 500; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      try {
        await this.pull(0);
        this.readBackends();
        pause = 500;
        await this.watch();
        this.onState("lost", "the server ended the watch");
      } catch (error) {
        if (error instanceof Refused && error.status === 401) {
          this.onState("refused", "signed out");
          await this.onRefused(error);
          continue;
        }
        const why = this.failure ?? error;
        this.onState("lost", why.name === "AbortError" ? "the server went silent" : why.message);
      }
      await sleep(pause);
    }
  }

  async watch() {
    this.failure = null;
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
    const answer = await get(`/portico/v1/topology${since ? `?since=${since}` : ""}`);
    const told = this.told;
    this.told = 0;
    this.topology.take(answer);
    this.onChange(told);
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
