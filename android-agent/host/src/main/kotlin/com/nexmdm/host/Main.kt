package com.nexmdm.host

fun main() {}
