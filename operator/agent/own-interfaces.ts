/**
 * Names and addresses of devices that are node interfaces. A file in the state folder records both. The agent
 * recognizes a renamed kernel device by the recorded name, and removes recorded addresses that the manifest no longer
 * has.
 */
import { join } from "node:path";
import { failureCode } from "../../datapath/failure.ts";
import { readJsonFile } from "../../files/read-file.ts";
import { replaceFile } from "../../files/replace-file.ts";
import { addAddress, deleteAddress, listAddresses } from "../../linux/netlink/address.ts";
import { findLink } from "../../linux/netlink/link.ts";
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import type { Failure } from "../resolve/status.ts";

export interface OwnInterface {
  readonly name: string;
  /** The previous name, if the name is being changed. */
  readonly formerName?: string;
  readonly addresses: readonly string[];
}

/** True if the agent has set this name for the session's device. */
export type IsNamed = (session: string, name: string) => boolean;

const FILE = "interfaces.json";
const MAX_FILE_BYTES = 16 * 1024 * 1024;

export class OwnInterfaces {
  readonly #path: string;
  readonly #socket: NetlinkSocket;
  /** The recorded interfaces, by session key. */
  #made: ReadonlyMap<string, OwnInterface>;
  #written = "";

  constructor(stateFolder: string, socket: NetlinkSocket) {
    this.#path = join(stateFolder, FILE);
    this.#socket = socket;
    this.#made = read(this.#path);
    if (this.#made.size > 0) this.#written = textOf(this.#made);
  }

  /** True if the name is the recorded name or the previous name of the session's device. */
  readonly isNamed: IsNamed = (session, name) => {
    const made = this.#made.get(session);
    return made !== undefined && (made.name === name || made.formerName === name);
  };

  /**
   * Records the interfaces before they are created.
   * @param isSpared true for sessions that are retained
   */
  record(wanted: ReadonlyMap<string, OwnInterface>, isSpared: (key: string) => boolean): void {
    const stays = [...this.#made].filter(([key]) => wanted.has(key) || isSpared(key));
    const kept = stays.map(([key, before]): [string, OwnInterface] => {
      const now = wanted.get(key) ?? before;
      // Previous names and addresses remain recorded until they are removed.
      const addresses = [...new Set([...now.addresses, ...before.addresses])];
      const former = now.name === before.name ? {} : { formerName: before.name };
      return [key, { name: now.name, addresses, ...former }];
    });
    this.#write(new Map([...wanted, ...kept]));
  }

  /** Adds the addresses, and removes recorded addresses that are not wanted. @returns failures by "session KEY" */
  settle(wanted: ReadonlyMap<string, OwnInterface>): ReadonlyMap<string, Failure> {
    const failures = new Map<string, Failure>();
    if (wanted.size === 0) return failures;
    const present = Map.groupBy(listAddresses(this.#socket), ({ link }) => link);
    const after = new Map(this.#made);
    for (const [key, own] of wanted) {
      const index = findLink(this.#socket, own.name)?.index;
      if (index === undefined) continue;
      const has = new Set(present.get(index)?.map(({ prefix }) => prefix));
      try {
        this.#settleOne(index, own, has, this.#made.get(key)?.addresses ?? []);
        after.set(key, own);
      } catch (error) {
        const { message } = error as Error;
        const text = `spec.attachment.addresses: ${own.name}: ${message}`;
        failures.set(`session ${key}`, { code: failureCode(error), message: text });
      }
    }
    this.#write(after);
    return failures;
  }

  #settleOne(
    link: number,
    { addresses }: OwnInterface,
    has: ReadonlySet<string>,
    given: readonly string[],
  ): void {
    const leaving = given.filter((prefix) => !addresses.includes(prefix) && has.has(prefix));
    for (const prefix of leaving) deleteAddress(this.#socket, { link, prefix });
    if (leaving.length > 0) this.#restore(link, has, leaving);
    for (const prefix of addresses) {
      if (!has.has(prefix)) addAddress(this.#socket, { link, prefix });
    }
  }

  /** Adds IPv4 addresses again that the kernel deleted together with the primary address of their network. */
  #restore(link: number, had: ReadonlySet<string>, leaving: readonly string[]): void {
    const left = new Set(
      listAddresses(this.#socket).flatMap((one) => (one.link === link ? one.prefix : [])),
    );
    for (const prefix of had) {
      const isLost = !prefix.includes(":") && !left.has(prefix) && !leaving.includes(prefix);
      if (isLost) addAddress(this.#socket, { link, prefix });
    }
  }

  /** Ignores write failures: a full disk must not interrupt traffic. The record is then lost if the agent restarts. */
  #write(made: ReadonlyMap<string, OwnInterface>): void {
    this.#made = made;
    const text = textOf(made);
    if (text === this.#written || (made.size === 0 && this.#written === "")) return;
    try {
      replaceFile(this.#path, text);
      this.#written = text;
    } catch {
      // The next reconcile retries.
    }
  }
}

const textOf = (made: ReadonlyMap<string, OwnInterface>): string =>
  `${JSON.stringify(Object.fromEntries(made), null, 2)}\n`;

/** Returns the recorded interfaces; empty if the file does not exist or is invalid. */
function read(path: string): ReadonlyMap<string, OwnInterface> {
  try {
    const content = readJsonFile(path, MAX_FILE_BYTES);
    if (typeof content !== "object" || content === null) return new Map();
    return new Map(
      Object.entries(content).filter((entry): entry is [string, OwnInterface] => isOwn(entry[1])),
    );
  } catch {
    return new Map();
  }
}

function isOwn(value: unknown): value is OwnInterface {
  const { name, addresses } = (value ?? {}) as Partial<OwnInterface>;
  if (typeof name !== "string" || !Array.isArray(addresses)) return false;
  return addresses.every((address) => typeof address === "string");
}
