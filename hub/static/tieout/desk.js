/* Keys for the reviewer's desk. Everything works without: this only presses the buttons and links that are there. */
(() => {
    "use strict";
    const desk = document.querySelector(".desk");
    if (!desk) return;
    desk.classList.add("desk-live");

    const rows = [...desk.querySelectorAll("[data-desk-row]")];
    const sections = [...desk.querySelectorAll("[data-desk-section]")];
    const help = document.getElementById("desk-help");
    const approval = document.getElementById("desk-approve");
    let at = -1;

    const typing = (element) => element.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
    const inside = (element) => element.matches?.("a, button, summary, [type=checkbox]");

    function go(step) {
        const list = rows.length ? rows : sections;
        if (!list.length) return;
        at = Math.min(Math.max(at + step, 0), list.length - 1);
        list.forEach((one, index) => one.classList.toggle("desk-current", rows.length > 0 && index === at));
        const target = rows.length ? list[at].querySelector("a") : list[at];
        target.focus({ preventScroll: true });
        list[at].scrollIntoView({ block: "nearest" });
    }

    function unfold(name) {
        const part = document.getElementById(`desk-${name}`);
        if (!part) return false;
        part.open = true;
        const field = part.querySelector("select, textarea, input:not([type=hidden])");
        (field || part).focus();
        part.scrollIntoView({ block: "nearest" });
        return true;
    }

    function follow(selector) {
        const link = desk.querySelector(selector);
        if (link) link.click();
        return Boolean(link);
    }

    const keys = {
        j: () => go(1), k: () => go(-1), o: () => rows[at]?.querySelector("a").click(),
        a: () => approval?.querySelector("button:not([disabled])")?.click(),
        r: () => unfold("reject"), b: () => unfold("send_back"), i: () => unfold("ask"),
        c: () => document.getElementById("desk-comment")?.focus(),
        n: () => follow("[data-desk-next]"), u: () => follow("[data-desk-up]"),
        z: () => document.getElementById("desk-undo")?.requestSubmit(),
        x: () => { const box = rows[at]?.querySelector("[name=pick]"); if (box) { box.checked = !box.checked; count(); } },
        "/": () => document.getElementById("q")?.focus(),
        "?": () => help?.showModal(),
    };

    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing || help?.open) return;
        if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
        if (typing(event.target)) return;
        if (event.key === "Enter") {
            if (!inside(event.target) && rows[at]) rows[at].querySelector("a").click();
            return;
        }
        const key = keys[event.key];
        if (key) { event.preventDefault(); key(); }
    });

    // One press, one decision: a second press while the first is on its way does nothing.
    let sent = false;
    desk.addEventListener("submit", (event) => {
        if (event.target.method !== "post") return;
        const question = event.target.dataset.confirm;
        if (sent || (question && !window.confirm(question))) { event.preventDefault(); return; }
        sent = true;
    });
    window.addEventListener("pageshow", () => { sent = false; });

    // How much is selected, per currency. Cents are counted as whole numbers.
    const output = document.getElementById("desk-selected");
    const hint = output?.textContent;
    function count() {
        if (!output) return;
        const sums = new Map();
        const picked = rows.flatMap((row) => [...row.querySelectorAll("[name=pick]:checked")]);
        for (const box of picked) {
            const [whole, part = ""] = box.dataset.total.split(".");
            const units = BigInt(whole + part.padEnd(4, "0").slice(0, 4));
            sums.set(box.dataset.currency, (sums.get(box.dataset.currency) ?? 0n) + units);
        }
        const shown = [...sums].map(([currency, units]) => {
            const text = units.toString().padStart(5, "0");
            const part = text.slice(-4).replace(/0{1,2}$/, "");
            return `${text.slice(0, -4).replace(/\B(?=(\d{3})+$)/g, ",")}.${part} ${currency}`;
        });
        output.textContent = picked.length ? `${picked.length} selected: ${shown.join(" · ")}` : hint;
    }
    desk.addEventListener("change", (event) => {
        if (event.target.matches("[data-desk-all]")) {
            for (const row of rows) for (const box of row.querySelectorAll("[name=pick]")) box.checked = event.target.checked;
        }
        count();
    });
    desk.querySelector("[data-desk-help]")?.addEventListener("click", () => help?.showModal());
    rows.forEach((row, index) => row.addEventListener("focusin", () => {
        at = index;
        rows.forEach((one, other) => one.classList.toggle("desk-current", other === at));
    }));
    if (rows.length) go(1);
})();
