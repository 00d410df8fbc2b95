import { testInUserspace } from "../harness/mac-spoofing.ts";

testInUserspace();
