/** What our own fields of a network configuration hold. config.ts checks by it; docs/cni.md is made from it. */
import { DEFAULT_SOCKET, FORMS } from "../operator/agent-protocol.ts";

export interface Field {
  /** For the reference. */
  readonly what: string;
  readonly form: RegExp;
  /** Where the form is not met: what would be right. */
  readonly remedy: string;
}

export const FIELDS = {
  session: {
    what: "the L2tpSession, as `NAME` or `NAMESPACE/NAME`; needed unless the plugin is chained",
    form: /^([a-z0-9][-a-z0-9]{0,62}\/)?[a-z0-9][-a-z0-9]{0,62}$/,
    remedy: "the name of an L2tpSession, or NAMESPACE/NAME",
  },
  namespace: {
    what: "of a session without one, where the runtime names no pod; default `default`",
    form: FORMS.label,
    remedy: "a namespace",
  },
  socket: {
    what: `the agent's; default \`${DEFAULT_SOCKET}\`. Its folder and all folders above belong to root, and no other user can write to them (above its own, a sticky folder such as \`/tmp\` will do)`,
    form: /^\/.+$/,
    remedy: "the absolute path of the agent's socket",
  },
  mac: {
    what: "of the pod's interface; left out, one that stays the same for the session. Not for a session with `pseudowireType: IP`",
    form: FORMS.mac,
    remedy: "six bytes as 02:00:5e:00:53:01",
  },
  interface: {
    what: "the interface's name where the plugin is chained with `session`",
    form: FORMS.ifname,
    remedy: "up to 15 bytes",
  },
} as const satisfies Readonly<Record<string, Field>>;

/** Of the specification, that mean something to us. */
export const STANDARD_FIELDS = {
  type: "`l2tp`",
  ipam: "any IPAM plugin, for a main plugin (`dhcp` not for a session with `pseudowireType: IP`); left out, the interface has no address",
  capabilities:
    '`{"io.kubernetes.cri.pod-annotations": true}` for the annotation, `{"mac": true, "ips": true}` for Multus',
} as const;
