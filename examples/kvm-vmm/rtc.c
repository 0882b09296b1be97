/* SPDX-License-Identifier: MIT */
/* The clock of a PC, read only: a kernel that finds none there waits for it again and again. */
#include <time.h>

#include "vmm.h"

enum {
    SECONDS = 0x00,
    MINUTES = 0x02,
    HOURS = 0x04,
    WEEKDAY = 0x06,
    DAY = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    STATUS_A = 0x0A,
    STATUS_B = 0x0B,
    STATUS_D = 0x0D,
    CENTURY = 0x32,
};

static uint8_t bcd(int number)
{
    return (uint8_t)(number / 10 % 10 << 4 | number % 10);
}

uint8_t rtc_read(const struct rtc *rtc)
{
    time_t now = time(NULL);
    struct tm utc;

    (void)gmtime_r(&now, &utc);
    switch (rtc->chosen & 0x7F) {
    case SECONDS:
        return bcd(utc.tm_sec);
    case MINUTES:
        return bcd(utc.tm_min);
    case HOURS:
        return bcd(utc.tm_hour);
    case WEEKDAY:
        return bcd(utc.tm_wday + 1);
    case DAY:
        return bcd(utc.tm_mday);
    case MONTH:
        return bcd(utc.tm_mon + 1);
    case YEAR:
        return bcd(utc.tm_year % 100);
    case CENTURY:
        return bcd(utc.tm_year / 100 + 19);
    case STATUS_A:
        return 0x26; /* 32768 Hz, never in the middle of an update */
    case STATUS_B:
        return 0x02; /* 24 hours, BCD */
    case STATUS_D:
        return 0x80; /* the battery is good */
    default:
        return 0;
    }
}
