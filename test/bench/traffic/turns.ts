/** Set BENCH_RUNS=1 for a quick run. */
const RUNS = Number(process.env.BENCH_RUNS ?? 5);

/** Measures the sides in turns and in changing order, so that changes of the machine's speed affect all. */
export async function alternate<S, T>(
  sides: readonly S[],
  measure: (side: S) => Promise<T>,
): Promise<T[][]> {
  const results: T[][] = sides.map(() => []);
  const order = sides.map((_, index) => index);
  for (let run = 0; run < RUNS; run++) {
    for (const index of run % 2 === 0 ? order : [...order].reverse()) {
      results[index]?.push(await measure(sides[index] as S));
    }
  }
  return results;
}
