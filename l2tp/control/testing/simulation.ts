/** Two endpoints and a network in simulated time, for tests. */
import { sameData } from "../../same-data.ts";
import type { CircuitStatus } from "../circuit-status.ts";
import type { ConnectionSettings } from "../connection.ts";
import { Lcce } from "../lcce.ts";
import type { Octets } from "../octets.ts";
import type { Peering, PeeringConfig } from "../peering.ts";
import type { Ending, EstablishedSession, SessionConfig } from "../session.ts";
import { chance, connectionSettings } from "./testdata.ts";

export const TUNNEL = "branch";
const LOCAL = "UDP";
const PORT = 1701;

/** Arrival times of a datagram; empty: it is lost. */
export type Fate = (now: number) => readonly number[];

/** Thrown for an end whose deadline never advances. */
const MAX_ROUNDS_AT_ONCE = 10_000;

/** Delivers at once, without loss. */
export const FAITHFUL: Fate = (now) => [now + 1];

export class End {
  readonly address: string;
  lcce: Lcce;
  isUp = false;
  readonly ups: number[] = [];
  readonly downs: Ending[] = [];
  readonly sessions = new Map<string, EstablishedSession>();
  readonly endings: Ending[] = [];
  /** Tolerated deviations. */
  readonly notes: string[] = [];
  readonly circuits: [string, CircuitStatus][] = [];
  /** False: it receives and sends nothing, like a host without power. */
  isOn = true;
  readonly #simulation: Simulation;
  readonly #config: PeeringConfig;
  #sessionConfigs: readonly SessionConfig[] = [];
  #boots = 0;
  readonly #seed: number;

  constructor(
    simulation: Simulation,
    address: string,
    peer: string,
    seed: number,
    change: Partial<PeeringConfig>,
    settings: Partial<ConnectionSettings>,
  ) {
    this.#simulation = simulation;
    this.address = address;
    this.#seed = seed;
    this.#config = {
      name: TUNNEL,
      mode: "Managed",
      local: LOCAL,
      remote: { address: peer, port: PORT },
      initiates: true,
      connection: connectionSettings(settings),
      retry: { firstMs: 1000, capMs: 30_000 },
      tunnelId: 1,
      peerTunnelId: 1,
      ...change,
    };
    this.lcce = this.#create();
  }

  get peering(): Peering {
    const peering = this.lcce.peeringOf(TUNNEL);
    if (peering === undefined) throw new Error("no peering");
    return peering;
  }

  /** Starts with these sessions. */
  start(sessions: readonly SessionConfig[] = []): void {
    this.#sessionConfigs = sessions;
    const { now } = this.#simulation;
    const peering = this.lcce.put(this.#config, now);
    for (const session of sessions) peering.putSession(session, now);
  }

  /** Restarts without state and without a message, as after a power failure. */
  reboot(): void {
    this.isUp = false;
    this.sessions.clear();
    this.lcce = this.#create();
    this.start(this.#sessionConfigs);
  }

  /** Removes all sessions, which takes effect when it has restarted. */
  forget(): void {
    this.#sessionConfigs = [];
  }

  #create(): Lcce {
    const random = chance(this.#seed + 1000 * this.#boots++);
    return new Lcce({
      random,
      heardAt: () => Number.NEGATIVE_INFINITY,
      takeId: () => true,
      releaseId() {},
      newSessionId: () => new DataView(random(4).buffer).getUint32(0) || 1,
      transmit: (_, remote, octets) => this.#simulation.send(this, remote.address, octets),
      listener: {
        up: () => {
          this.isUp = true;
          this.ups.push(this.#simulation.now);
        },
        down: (_, ending) => {
          this.isUp = false;
          this.downs.push(ending);
        },
        refused() {},
        noted: (_, what) => this.notes.push(what),
        sessionUp: (_, session) => this.sessions.set(session.key, session),
        sessionDown: (_, key, ending) => {
          this.sessions.delete(key);
          this.endings.push(ending);
        },
        peerCircuit: (_, key, circuit) => {
          this.circuits.push([key, circuit]);
          const session = this.sessions.get(key);
          if (session !== undefined) this.sessions.set(key, { ...session, peerCircuit: circuit });
        },
      },
    });
  }
}

interface Arrival {
  readonly at: number;
  readonly from: string;
  readonly to: string;
  readonly octets: Octets;
}

export class Simulation {
  now = 0;
  fate: Fate = FAITHFUL;
  /** All sent datagrams, in order. */
  readonly trace: Octets[] = [];
  readonly ends: End[] = [];
  readonly #wire: Arrival[] = [];

  /** Adds an end, whose peer is the other end. */
  add(
    seed: number,
    change: Partial<PeeringConfig> = {},
    settings: Partial<ConnectionSettings> = {},
  ): End {
    const addresses = ["192.0.2.1", "192.0.2.2"] as const;
    const index = this.ends.length;
    const [mine, other] = index === 0 ? addresses : ([addresses[1], addresses[0]] as const);
    const end = new End(this, mine, other, seed, change, settings);
    this.ends.push(end);
    return end;
  }

  send(from: End, to: string, octets: Octets): void {
    if (!from.isOn) return;
    this.trace.push(octets);
    for (const at of this.fate(this.now)) {
      this.#wire.push({ at, from: from.address, to, octets });
    }
  }

  /** Advances time until `done`, or until that time. */
  run(until: number, done: () => boolean = () => false): void {
    let [last, rounds] = [this.now, 0];
    for (;;) {
      if (done()) return;
      rounds = this.now === last ? rounds + 1 : 0;
      last = this.now;
      if (rounds > MAX_ROUNDS_AT_ONCE) throw new Error(`time stands still at ${last} ms`);
      const next = Math.min(
        ...this.#wire.map(({ at }) => at),
        ...this.ends.map(({ lcce }) => lcce.deadline()),
      );
      if (next > until) break;
      this.now = Math.max(this.now, next);
      this.#deliver();
      for (const { lcce } of this.ends) if (this.now >= lcce.deadline()) lcce.poll(this.now);
    }
    this.now = Math.max(this.now, until);
  }

  #deliver(): void {
    const due = this.#wire.filter(({ at }) => at <= this.now);
    for (const arrival of due) {
      this.#wire.splice(this.#wire.indexOf(arrival), 1);
      const end = this.ends.find(({ address }) => address === arrival.to);
      if (end?.isOn !== true) continue;
      const source = { address: arrival.from, port: PORT };
      // A copy, because the receiver owns its octets.
      end.lcce.receive(LOCAL, source, Uint8Array.from(arrival.octets), this.now);
    }
  }
}

/** True if the sessions of both ends match. */
export function fitsTogether(one: End, other: End): boolean {
  if (one.sessions.size !== other.sessions.size) return false;
  return [...one.sessions.values()].every((mine) => {
    const theirs = [...other.sessions.values()].find(
      ({ sessionId }) => sessionId === mine.peerSessionId,
    );
    return (
      theirs !== undefined &&
      theirs.peerSessionId === mine.sessionId &&
      theirs.rxCookie === mine.txCookie &&
      theirs.txCookie === mine.rxCookie &&
      theirs.l2SpecificSublayer === mine.l2SpecificSublayer &&
      theirs.sequencing.send === mine.sequencing.receive &&
      theirs.sequencing.receive === mine.sequencing.send &&
      sameData(mine.peerCircuit, other.peering.circuitOf(theirs.key)) &&
      sameData(theirs.peerCircuit, one.peering.circuitOf(mine.key))
    );
  });
}
