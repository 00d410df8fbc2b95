/** BENCH_RUNS=1 for a first look. */
const RUNS = Number(process.env.BENCH_RUNS ?? 5);

/** In turns, so that the machine's moods meet all; and not always in the same order. */
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
