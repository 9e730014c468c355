// The formats of numbers, sizes and times. An unknown value is a dash.

const UNKNOWN = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** With a decimal where it matters: 9.96 is 10, and zero is 0. */
const short = (value) => (value > 0 && value < 9.95 ? tenths : whole).format(value);

export function count(value) {
  return value === undefined ? UNKNOWN : whole.format(value);
}

/** A count with its noun. */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Events per second. */
export function rate(value) {
  if (value === undefined) return UNKNOWN;
  if (value > 0 && value < 0.1) return "<0.1";
  return short(value);
}

/** A fraction of 1. */
export function percent(fraction) {
  if (fraction === undefined || Number.isNaN(fraction)) return UNKNOWN;
  const value = 100 * fraction;
  if (value > 0 && value < 0.1) return "<0.1 %";
  return `${short(value)} %`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

export function bytes(value) {
  if (value === undefined) return UNKNOWN;
  let unit = 0;
  // 999.5 would be written as 1,000.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit ? short(value) : whole.format(value)} ${UNITS[unit]}`;
}

/** Bytes per second. */
export function byteRate(value) {
  return value === undefined ? UNKNOWN : `${bytes(value)}/s`;
}

/** Seconds, in the two largest units that matter. */
export function span(seconds) {
  if (seconds === undefined) return UNKNOWN;
  const [days, hours, minutes] = [86400, 3600, 60].map((unit) => Math.floor(seconds / unit));
  if (days) return `${whole.format(days)} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  if (minutes) return `${minutes} min`;
  return `${Math.floor(seconds)} s`;
}

/** The time of day in UTC, as in the logs. */
export function clock(time) {
  return new Date(time).toISOString().slice(11, 19);
}

/** A point in time in UTC: the time of day if it is today, else the date and time to the minute. */
export function stamp(time, now = Date.now()) {
  if (time === undefined) return UNKNOWN;
  const [day, today] = [time, now].map((one) => new Date(one).toISOString().slice(0, 10));
  return day === today ? `${clock(time)} UTC` : `${day} ${clock(time).slice(0, 5)} UTC`;
}
