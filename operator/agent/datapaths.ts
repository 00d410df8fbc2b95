/** Combines all datapaths of a node. */
import type { Change, Datapath, DumpEntry, Listing, Names } from "../../datapath/datapath.ts";
import { KernelL2tp } from "../../datapath/kernel/shared.ts";
import { DATAPATHS, traitsOf } from "../../datapath/registry/datapaths.ts";
import type { DatapathClient } from "../../datapath/userspace/client.ts";
import type { DeviceKind, KernelSupport } from "../../model/datapath.ts";
import type { Reply } from "../../rpc/errors.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";

export class Datapaths {
  readonly process: DatapathClient;
  readonly #kernel = new KernelL2tp();
  #opened: Promise<readonly Datapath[]> | null = null;

  constructor(process: DatapathClient) {
    this.process = process;
  }

  close(): void {
    this.process.close();
    void this.#opened?.then((datapaths) => {
      for (const datapath of datapaths) datapath.close();
    });
  }

  /** Probes the kernel's L2TP. */
  support(): Promise<KernelSupport> {
    return this.#kernel.support();
  }

  /** Lists all programmed objects. Later changes refer to this listing. */
  list(names: Names): Promise<Listing> {
    return this.#merge((datapath) => datapath.list(names));
  }

  /** Lists the same without affecting changes; allowed at any time. */
  peek(names: Names): Promise<Listing> {
    return this.#merge((datapath) => datapath.peek(names));
  }

  /** Returns all tunnels and sessions, including foreign ones. */
  async dump(names: Names): Promise<DumpEntry[]> {
    const listing = await this.peek(names);
    const datapaths = await this.#open();
    return datapaths.flatMap((datapath) => datapath.dump(ofKind(listing, datapath.traits.device)));
  }

  /** Lists one session if its datapath has it. */
  async find({ session, tunnel }: Pick<ResolvedSession, "session" | "tunnel">): Promise<Listing> {
    return (await this.#of(tunnel.datapath)).find(session, tunnel);
  }

  /** Applies the changes. Returns a reply for each change, in order. */
  async apply(datapath: string, changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    return (await this.#of(datapath)).apply(changes);
  }

  async #merge(ask: (datapath: Datapath) => Promise<Listing>): Promise<Listing> {
    // While a session moves between datapaths, both list it. Later entries win: the preferred datapath comes last.
    const listings = await Promise.all((await this.#open()).toReversed().map(ask));
    const [turns] = listings.flatMap((listing) => listing.turns ?? []);
    return {
      tunnels: listings.flatMap(({ tunnels }) => tunnels),
      sessions: listings.flatMap(({ sessions }) => sessions),
      ...(turns === undefined ? {} : { turns }),
    };
  }

  async #of(name: string): Promise<Datapath> {
    const datapath = (await this.#open()).find(({ traits }) => traits.name === name);
    if (datapath === undefined) throw new RangeError(`no datapath ${name}`);
    return datapath;
  }

  #open(): Promise<readonly Datapath[]> {
    const shared = { process: this.process, kernel: this.#kernel };
    this.#opened ??= Promise.all(DATAPATHS.map(({ open }) => open(shared)));
    return this.#opened;
  }
}

/** Returns the part of the listing in datapaths with that kind of device. */
function ofKind({ tunnels, sessions, ...rest }: Listing, kind: DeviceKind): Listing {
  const isOf = (datapath: string) => traitsOf(datapath).device === kind;
  return {
    ...rest,
    tunnels: tunnels.filter(({ tunnel }) => isOf(tunnel.datapath)),
    sessions: sessions.filter(({ datapath }) => isOf(datapath)),
  };
}
