/** A datapath process on a test host, without an agent. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Change, Listing } from "../../datapath/datapath.ts";
import { DatapathClient } from "../../datapath/userspace/client.ts";
import { type Host, inside } from "./net.ts";
import { Background } from "./run.ts";
import { until } from "./wait.ts";

const PROGRAM = fileURLToPath(new URL("../../bin/l2tp-datapath", import.meta.url));

export class TestDatapath {
  readonly host: Host;
  log = "";
  readonly #folder = mkdtempSync(join(tmpdir(), "l2tp-datapath-"));
  readonly #socket = join(this.#folder, "datapath.sock");
  readonly #background = new Background();
  #client = new DatapathClient(this.#socket);

  constructor(host: Host) {
    this.host = host;
  }

  async start(): Promise<void> {
    this.#background.start(inside(this.host.name, PROGRAM, "--socket", this.#socket), (text) => {
      this.log += text;
    });
    await until(
      () => `the datapath of ${this.host.name} answers: ${this.log}`,
      () => this.#client.hello(),
    );
  }

  /** Kills the process, so that it cannot notify its peers. */
  async kill(): Promise<void> {
    await this.#background.stopAll();
    this.#client.close();
    this.#client = new DatapathClient(this.#socket);
  }

  /** @throws Error if a change fails */
  async apply(...changes: readonly Change[]): Promise<void> {
    for (const reply of await this.#client.apply(changes)) {
      if ("error" in reply) throw new Error(reply.error.message);
    }
  }

  async pid(): Promise<number> {
    return (await this.#client.hello()).pid;
  }

  list(): Promise<Listing> {
    return this.#client.list();
  }

  shutdown(): Promise<void> {
    return this.#client.shutdown();
  }

  async destroy(): Promise<void> {
    await this.kill();
    this.#client.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Short intervals, so that tests run fast. */
