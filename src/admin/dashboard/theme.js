// Dark or light: the system's choice, or the user's, which is remembered.

const KEY = "mqtt-lb theme";

const button = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");

const current = () => localStorage.getItem(KEY) ?? (system.matches ? "dark" : "light");

function apply() {
  document.documentElement.dataset.theme = current();
  const other = current() === "dark" ? "light" : "dark";
  button.setAttribute("aria-label", `Use the ${other} theme`);
  button.title = `Use the ${other} theme`;
}

button.addEventListener("click", () => {
  localStorage.setItem(KEY, current() === "dark" ? "light" : "dark");
  apply();
});
system.addEventListener("change", apply);
apply();
