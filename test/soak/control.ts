/**
 * `node test/soak/control.ts [COUNT [FIRST]]`: random courses of the control connection, on all processors. Exit
 * status 1 if one fails. Each course is a seed, by which it can be repeated.
 */
import { availableParallelism } from "node:os";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { course } from "../../l2tp/control/testing/chaos.ts";

/** A thread's message after each part. */
interface Told {
  readonly ended: number;
  readonly failures: readonly string[];
}

interface Seeds {
  readonly first: number;
  readonly count: number;
  readonly step: number;
}

const PART = 250;
const PROGRESS = 5000;

function runSome({ first, count, step }: Seeds): void {
  let failures: string[] = [];
  for (let index = 1; index <= count; index++) {
    try {
      course(first + (index - 1) * step);
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
    if (index % PART !== 0 && index !== count) continue;
    parentPort?.postMessage({ ended: ((index - 1) % PART) + 1, failures } satisfies Told);
    failures = [];
  }
}

async function runAll(count: number, first: number): Promise<void> {
  const threads = availableParallelism();
  let ended = 0;
  let failed = 0;
  const hear = (told: Told) => {
    for (const failure of told.failures) console.log(failure);
    failed += told.failures.length;
    const before = ended;
    ended += told.ended;
    const isDue = Math.floor(ended / PROGRESS) > Math.floor(before / PROGRESS);
    if (isDue) console.log(`${ended} of ${count}`);
  };
  const shares = Array.from({ length: threads }, (_, index) => ({
    ...{ first: first + index, step: threads },
    count: Math.floor(count / threads) + Number(index < count % threads),
  }));
  await Promise.all(
    shares.map(
      (seeds) =>
        new Promise((resolve, reject) => {
          const worker = new Worker(new URL(import.meta.url), { workerData: seeds });
          worker.on("message", hear).on("error", reject).on("exit", resolve);
        }),
    ),
  );
  console.log(`${ended - failed} courses passed, ${failed + count - ended} failed`);
  process.exitCode = failed === 0 && ended === count ? 0 : 1;
}

if (isMainThread) {
  const [count = 100_000, first = 1] = process.argv.slice(2).map(Number);
  await runAll(count, first);
} else runSome(workerData as Seeds);
