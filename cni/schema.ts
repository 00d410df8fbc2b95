/** The plugin's own fields of a network configuration. config.ts checks them; docs/cni.md is generated from them. */
import { DEFAULT_SOCKET, FORMS } from "../operator/agent-protocol.ts";

/** A field of the network configuration. */
export interface Field {
  /** Description in the reference. */
  readonly what: string;
  readonly form: RegExp;
  /** Describes a valid value, for errors: "must be …". */
  readonly expected: string;
}

export const FIELDS = {
  session: {
    what: "the L2tpSession, as `NAME` or `NAMESPACE/NAME`; required unless the plugin is chained",
    form: /^([a-z0-9][-a-z0-9]{0,62}\/)?[a-z0-9][-a-z0-9]{0,62}$/,
    expected: "the name of an L2tpSession, or NAMESPACE/NAME",
  },
  namespace: {
    what: "namespace of `session` if the runtime passes no pod name; default `default`",
    form: FORMS.label,
    expected: "the name of a namespace",
  },
  socket: {
    what: `path of the agent's socket; default \`${DEFAULT_SOCKET}\`. Its folder and all folders above must belong to root and be writable by root only (above its own, a sticky folder such as \`/tmp\` is accepted)`,
    form: /^\/.+$/,
    expected: "the absolute path of the agent's socket",
  },
  mac: {
    what: "MAC address of the pod's interface; by default the session's own, which stays the same. Not for a session with `pseudowireType: IP`",
    form: FORMS.mac,
    expected: "six bytes, as in 02:00:5e:00:53:01",
  },
  interface: {
    what: "interface name if the plugin is chained with `session`",
    form: FORMS.ifname,
    expected: "at most 15 letters, digits, _, . and -",
  },
} as const satisfies Readonly<Record<string, Field>>;

/** Fields of the specification that the plugin uses. */
export const STANDARD_FIELDS = {
  type: "`l2tp`",
  ipam: "any IPAM plugin, for a main plugin (`dhcp` not for a session with `pseudowireType: IP`); without it, the interface is a plain layer-2 port",
  capabilities:
    '`{"io.kubernetes.cri.pod-annotations": true}` for the annotation, `{"mac": true, "ips": true}` for Multus',
} as const;
