/* A plugin of Mosquitto's: enhanced authentication (MQTT 5.0 section 4.12) by the method
 * "CHALLENGE". The client answers each of two challenges with its bytes, exclusive-ored with those
 * of the secret. Challenges that never change authenticate nobody; they show whether a proxy passes
 * on every AUTH packet in both directions. */

#include <stdint.h>
#include <string.h>

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#define BYTES 16

static const unsigned char CHALLENGES[2][BYTES + 1] = { "first-challenge!", "second-challenge" };
static const char METHOD[] = "CHALLENGE", WELCOME[] = "welcome";
static unsigned char secret[BYTES + 1];
static mosquitto_plugin_id_t *plugin;

static int say(struct mosquitto_evt_extended_auth *event, const void *data, uint16_t length)
{
    event->data_out = mosquitto_malloc(length);
    if (!event->data_out) return MOSQ_ERR_NOMEM;
    memcpy(event->data_out, data, length);
    event->data_out_len = length;
    return MOSQ_ERR_SUCCESS;
}

static int challenge(struct mosquitto_evt_extended_auth *event, int number)
{
    int fault = say(event, CHALLENGES[number], BYTES);
    return fault ? fault : MOSQ_ERR_AUTH_CONTINUE;
}

static int answers(const struct mosquitto_evt_extended_auth *event, int number)
{
    const unsigned char *said = event->data_in;
    if (event->data_in_len != BYTES) return 0;
    for (int at = 0; at < BYTES; at++)
        if ((said[at] ^ secret[at]) != CHALLENGES[number][at]) return 0;
    return 1;
}

static int on_start(int kind, void *data, void *user)
{
    struct mosquitto_evt_extended_auth *event = data;
    (void)kind, (void)user;
    if (strcmp(event->auth_method, METHOD)) return MOSQ_ERR_NOT_SUPPORTED;
    return challenge(event, 0);
}

static int on_continue(int kind, void *data, void *user)
{
    struct mosquitto_evt_extended_auth *event = data;
    (void)kind, (void)user;
    if (answers(event, 0)) return challenge(event, 1);
    if (answers(event, 1)) return say(event, WELCOME, sizeof WELCOME - 1);
    return MOSQ_ERR_AUTH;
}

int mosquitto_plugin_version(int count, const int *supported)
{
    for (int at = 0; at < count; at++)
        if (supported[at] == 5) return 5;
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *id, void **user, struct mosquitto_opt *options,
                          int count)
{
    (void)user;
    plugin = id;
    /* The one option, plugin_opt_secret. */
    if (count != 1 || strlen(options[0].value) != BYTES) return MOSQ_ERR_INVAL;
    memcpy(secret, options[0].value, BYTES);
    int fault = mosquitto_callback_register(id, MOSQ_EVT_EXT_AUTH_START, on_start, NULL, NULL);
    if (fault) return fault;
    return mosquitto_callback_register(id, MOSQ_EVT_EXT_AUTH_CONTINUE, on_continue, NULL, NULL);
}

int mosquitto_plugin_cleanup(void *user, struct mosquitto_opt *options, int count)
{
    (void)user, (void)options, (void)count;
    mosquitto_callback_unregister(plugin, MOSQ_EVT_EXT_AUTH_START, on_start, NULL);
    mosquitto_callback_unregister(plugin, MOSQ_EVT_EXT_AUTH_CONTINUE, on_continue, NULL);
    return MOSQ_ERR_SUCCESS;
}
