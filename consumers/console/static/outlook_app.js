// Entry of the page that `tickcast console --outlook-only` serves: the outlook, and nothing else.

import { byId } from "./dom.js";
import { OutlookView } from "./outlook.js";
import { dress } from "./theme.js";

const outlook = new OutlookView(byId("tab-outlook"));
dress(() => outlook.repaint());
outlook.render("", []);
