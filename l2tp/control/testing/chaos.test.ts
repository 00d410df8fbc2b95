import { it } from "vitest";
import { course } from "./chaos.ts";

/** test/soak/control.ts runs as many as one likes. */
const COURSES = 1000;

it(`recovers from random faults: ${COURSES} courses`, () => {
  for (let seed = 1; seed <= COURSES; seed++) course(seed);
}, 120_000);
