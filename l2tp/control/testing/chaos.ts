/** Two endpoints over networks with loss, duplication, reordering and delay, while both restart and change sessions. */
import { type End, FAITHFUL, type Fate, fitsTogether, Simulation } from "./simulation.ts";
import { sessionConfig } from "./testdata.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const TROUBLE_MS = 2 * MINUTE;
/** The longest pause of a retransmission or retry, twice. */
const RECOVERY_MS = 4 * MINUTE;
const KEYS = ["shop/a", "shop/b", "shop/c"] as const;

class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2654435761 + 12345) >>> 0;
  }

  below(bound: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * bound);
  }

  happens(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

function badly(chance: Chance): Fate {
  const [loss, doubled, slow] = [chance.below(60), chance.below(30), chance.below(4000)];
  return (now) => {
    if (chance.happens(loss)) return [];
    const arrival = () => now + 1 + chance.below(1 + slow);
    return chance.happens(doubled) ? [arrival(), arrival()] : [arrival()];
  };
}

function session(key: string, chance: Chance, quiet: boolean) {
  return sessionConfig({
    key,
    remoteEndId: key,
    callRequest: quiet ? null : chance.pick(["ICRQ", "ICRQ", "OCRQ"] as const),
    l2SpecificSublayer: chance.pick(["None", "Default"] as const),
    receiveSequencing: chance.happens(30),
  });
}

/** An action of an end or its owner. */
function stir(simulation: Simulation, ends: readonly End[], chance: Chance, quiet: number): void {
  const side = chance.below(2);
  const end = ends[side] as End;
  const key = chance.pick(KEYS);
  switch (chance.below(5)) {
    case 0:
      return end.reboot();
    case 1:
      end.isOn = !end.isOn;
      return;
    case 2:
      return end.peering.deleteSession(key, simulation.now);
    case 3:
      return end.peering.putSession(session(key, chance, side === quiet), simulation.now);
    case 4:
      return end.peering.setCircuit(
        key,
        { active: chance.happens(50), standby: chance.happens(20) },
        simulation.now,
      );
  }
}

/** Runs a course. The same seed gives the same course. @throws Error if the ends do not recover */
export function course(seed: number): void {
  const chance = new Chance(seed);
  const simulation = new Simulation();
  const authentication = chance.happens(30)
    ? { secrets: [Uint8Array.of(1, 2, 3)], hidesValues: chance.happens(50) }
    : {};
  const settings = { helloMs: 5 * SECOND, deadAfterMs: 9 * SECOND, ...authentication };
  // The end that does not initiate, or requests no session; 2: both do.
  const [waits, quiet] = [chance.below(3), chance.below(3)];
  const ends = [0, 1].map((side) =>
    simulation.add(2 * seed + side, { initiates: side !== waits }, settings),
  ) as [End, End];
  simulation.fate = badly(chance);
  for (const [side, end] of ends.entries()) {
    end.start(KEYS.map((key) => session(key, chance, side === quiet)));
  }
  while (simulation.now < TROUBLE_MS) {
    simulation.run(simulation.now + chance.below(20 * SECOND));
    if (chance.happens(70)) stir(simulation, ends, chance, quiet);
  }
  // The network recovers, and both ends have the same configuration.
  simulation.fate = FAITHFUL;
  for (const [side, end] of ends.entries()) {
    end.isOn = true;
    for (const key of KEYS) {
      end.peering.putSession(session(key, chance, side === quiet), simulation.now);
    }
  }
  const isWell = () =>
    ends.every(({ sessions }) => sessions.size === KEYS.length) && fitsTogether(...ends);
  simulation.run(simulation.now + RECOVERY_MS, isWell);
  require(isWell(), `seed ${seed}: not established`);
  // The state is stable, without remains of earlier connections.
  const downs = ends.map((end) => end.downs.length);
  simulation.run(simulation.now + 3 * MINUTE);
  require(isWell(), `seed ${seed}: not established any more`);
  for (const [side, { downs: after, peering }] of ends.entries()) {
    require(after.length === downs[side], `seed ${seed}: down in between`);
    require(peering.connections.length === 1, `seed ${seed}: connections are left`);
  }
}

function require(condition: boolean, message: string): void {
  if (!condition) throw new Error(message);
}
