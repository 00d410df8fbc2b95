/** A clock for one process that can jump, while the machine's clock does not (libfaketime). */
import { globSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class JumpingClock {
  readonly #folder = mkdtempSync(join(tmpdir(), "clock-"));
  readonly #file = join(this.#folder, "offset");

  constructor() {
    this.jump("+0");
  }

  /** The prefix of a command that uses this clock. The command's monotonic clock is the machine's. */
  get command(): string[] {
    const [library] = globSync("/usr/lib/*/faketime/libfaketime.so.1");
    if (library === undefined) throw new Error("libfaketime is not installed; run make setup");
    const settings = {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    };
    return ["env", ...Object.entries(settings).map(([name, value]) => `${name}=${value}`)];
  }

  /** @param offset from the machine's time: "+1d", "-1h" */
  jump(offset: string): void {
    writeFileSync(this.#file, offset);
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true });
  }
}
