/** A tunnel with a control connection: the ways to its remotes, of which one carries its frames. */
import { fromHex } from "../../../l2tp/control/octets.ts";
import type { PeeringConfig } from "../../../l2tp/control/peering.ts";
import { sameData } from "../../../l2tp/same-data.ts";
import type { Endpoint, Tunnel, TunnelControl } from "../../../model/model.ts";
import { LocalEndpoint } from "../packet/session.ts";

export type Controlled = Tunnel & { readonly control: TunnelControl };

export function hasControl(tunnel: Tunnel): tunnel is Controlled {
  return tunnel.control !== undefined;
}

const RECEIVE_WINDOW = 8;
/** Whatever is begun is to be established within that. */
const SETUP_MS = 30_000;
const MAX_HOLD_MS = 60_000;
const RETRY = { firstMs: 1000, capMs: 30_000 };

export class ManagedTunnel {
  /** As the agent has put it. */
  readonly config: Controlled;
  /** How each of the remotes is to be held, in the order of preference. */
  readonly peerings: readonly PeeringConfig[];
  /** Which of them carries. */
  active: number;

  /**
   * @param pseudowireTypes numbers of the types that its frames' datapath can carry
   * @param before the tunnel of that name until now: the remote that carries goes on
   */
  constructor(config: Controlled, pseudowireTypes: readonly number[], before?: ManagedTunnel) {
    this.config = config;
    const remotes = [config.remote, ...config.control.backups];
    this.peerings = remotes.map((remote) => peeringConfig(config, pseudowireTypes, remote));
    const remote = before?.remote;
    this.active = Math.max(
      0,
      remotes.findIndex((each) => sameData(each, remote)),
    );
  }

  /** Of the peering that carries. */
  get activeName(): string {
    return this.#activePeering.name;
  }

  get remote(): Endpoint {
    return this.#activePeering.remote;
  }

  /** How long a better remote must have been there, to get the frames back. */
  get holdMs(): number {
    const { deadAfterMs, helloMs } = this.config.control;
    return Math.min(MAX_HOLD_MS, deadAfterMs ?? 3 * helloMs);
  }

  /** As the packet path is to have it. */
  get carried(): Tunnel {
    return { ...this.config, remote: this.remote };
  }

  get #activePeering(): PeeringConfig {
    return this.peerings[this.active] as PeeringConfig;
  }
}

function peeringConfig(
  { control, ...tunnel }: Controlled,
  pseudowireTypes: readonly number[],
  remote: Endpoint,
): PeeringConfig {
  const { retransmitMs, retransmitCapMs, maxRetransmits } = control;
  return {
    // Names of tunnels have no spaces in them.
    name: `${tunnel.name} ${remote.address} ${remote.port}`,
    mode: control.mode,
    local: LocalEndpoint.keyOf(tunnel),
    remote,
    initiates: control.initiates,
    connection: {
      hostName: control.hostName,
      routerId: control.routerId,
      pseudowireTypes,
      secrets: control.secrets.map(fromHex),
      digest: control.digest,
      hidesValues: control.hidesValues,
      delivery: { receiveWindow: RECEIVE_WINDOW, retransmitMs, retransmitCapMs, maxRetransmits },
      helloMs: control.helloMs,
      deadAfterMs: control.deadAfterMs ?? Number.POSITIVE_INFINITY,
      setupMs: SETUP_MS,
    },
    retry: RETRY,
    tunnelId: tunnel.tunnelId,
    peerTunnelId: tunnel.peerTunnelId,
  };
}
