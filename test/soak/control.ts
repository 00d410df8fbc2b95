/** `node test/soak/control.ts [COUNT [FIRST]]`: random courses of the control connection; exit status 1 where one ends badly. */
import { course } from "../../l2tp/control/chaos.ts";

const [count = 100_000, first = 1] = process.argv.slice(2).map(Number);
const PROGRESS = 5000;
const failures: string[] = [];
for (let seed = first; seed < first + count; seed++) {
  try {
    course(seed);
  } catch (error) {
    failures.push(error instanceof Error ? error.message : String(error));
    console.log(failures.at(-1));
  }
  if ((seed - first + 1) % PROGRESS === 0) console.log(`${seed - first + 1} of ${count}`);
}
console.log(`${count - failures.length} ended well, ${failures.length} badly`);
process.exit(failures.length === 0 ? 0 : 1);
