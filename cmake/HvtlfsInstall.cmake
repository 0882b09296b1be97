# SPDX-License-Identifier: MIT
# What `cmake --install` puts where: libraries, headers, CMake package, pkg-config file, the
# command, man pages.
set(HVTLFS_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/hvtlfs)

install(TARGETS ${HVTLFS_LIBRARIES} EXPORT hvtlfsTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT Runtime NAMELINK_COMPONENT Development
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT Development
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT Development)
install(EXPORT hvtlfsTargets NAMESPACE hvtlfs:: DESTINATION ${HVTLFS_CMAKE_DIR}
    COMPONENT Development)

# libhvtlfs-kvm, where it is built: find_package(hvtlfs COMPONENTS kvm).
if(TARGET hvtlfs_kvm)
    install(TARGETS hvtlfs_kvm hvtlfs_kvm_static EXPORT hvtlfsKvmTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT Runtime NAMELINK_COMPONENT Development
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT Development
        FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT Development)
    install(EXPORT hvtlfsKvmTargets NAMESPACE hvtlfs:: DESTINATION ${HVTLFS_CMAKE_DIR}
        COMPONENT Development)
    # Where it is put, it finds libhvtlfs beside itself. So it does where it is built; a path of the build
    # that is cut out at installation would leave its length behind.
    set_target_properties(hvtlfs_kvm PROPERTIES INSTALL_RPATH "$ORIGIN" BUILD_WITH_INSTALL_RPATH ON)
endif()

configure_package_config_file(cmake/hvtlfsConfig.cmake.in
    ${PROJECT_BINARY_DIR}/cmake/hvtlfsConfig.cmake INSTALL_DESTINATION ${HVTLFS_CMAKE_DIR})
# semver.org: before 1.0 a minor version may break what the one before it promised.
if(PROJECT_VERSION_MAJOR EQUAL 0)
    set(HVTLFS_COMPATIBILITY SameMinorVersion)
else()
    set(HVTLFS_COMPATIBILITY SameMajorVersion)
endif()
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/hvtlfsConfigVersion.cmake
    COMPATIBILITY ${HVTLFS_COMPATIBILITY})
install(FILES ${PROJECT_BINARY_DIR}/cmake/hvtlfsConfig.cmake
    ${PROJECT_BINARY_DIR}/cmake/hvtlfsConfigVersion.cmake
    DESTINATION ${HVTLFS_CMAKE_DIR} COMPONENT Development)

# The prefix is known only when installing (`cmake --install --prefix`), so the pkg-config file is
# written then.
foreach(kind IN ITEMS INCLUDEDIR LIBDIR)
    if(IS_ABSOLUTE "${CMAKE_INSTALL_${kind}}")
        set(HVTLFS_PC_${kind} "${CMAKE_INSTALL_${kind}}")
    else()
        set(HVTLFS_PC_${kind} "\${prefix}/${CMAKE_INSTALL_${kind}}")
    endif()
endforeach()
set(HVTLFS_PC_FILES hvtlfs)
if(TARGET hvtlfs_kvm)
    list(APPEND HVTLFS_PC_FILES hvtlfs-kvm)
endif()
foreach(name IN LISTS HVTLFS_PC_FILES)
    install(CODE "
        set(HVTLFS_PC_INCLUDEDIR [[${HVTLFS_PC_INCLUDEDIR}]])
        set(HVTLFS_PC_LIBDIR [[${HVTLFS_PC_LIBDIR}]])
        set(PROJECT_DESCRIPTION [[${PROJECT_DESCRIPTION}]])
        set(PROJECT_VERSION [[${PROJECT_VERSION}]])
        configure_file([[${PROJECT_SOURCE_DIR}/cmake/${name}.pc.in]]
            [[${PROJECT_BINARY_DIR}/cmake/${name}.pc]] @ONLY)
    " COMPONENT Development)
    install(FILES ${PROJECT_BINARY_DIR}/cmake/${name}.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT Development)
endforeach()

# What `hvtlfs kvm run` puts in front of programs.
if(TARGET hvtlfs_kvm_preload)
    install(TARGETS hvtlfs_kvm_preload
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/hvtlfs COMPONENT Tools)
endif()

if(TARGET hvtlfs_tool)
    install(TARGETS hvtlfs_tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT Tools)
endif()

# Sections 1 and 5 go with the command, 3 and 7 with the library's headers. Those of functions and
# verbs are made from the headers and from hvtlfs.1, where there is a Python to do it.
find_program(HVTLFS_PYTHON3 python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_program(HVTLFS_PYTHON3 python3)
if(HVTLFS_PYTHON3 AND EXISTS ${PROJECT_SOURCE_DIR}/docs/site/man.py)
    file(GLOB kvm_headers CONFIGURE_DEPENDS adapters/kvm/include/hvtlfs/*.h)
    file(GLOB man_sources CONFIGURE_DEPENDS docs/man/*.[1-9])
    add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/man/made
        COMMAND ${CMAKE_COMMAND} -E rm -rf ${PROJECT_BINARY_DIR}/man
        COMMAND ${HVTLFS_PYTHON3} ${PROJECT_SOURCE_DIR}/docs/site/man.py ${PROJECT_SOURCE_DIR}
            ${PROJECT_BINARY_DIR}/man
        COMMAND ${CMAKE_COMMAND} -E touch ${PROJECT_BINARY_DIR}/man/made
        DEPENDS docs/site/man.py ${man_sources} ${HVTLFS_HEADERS} ${kvm_headers}
            include/hvtlfs/version.h.in
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
        COMMENT "Making man pages" VERBATIM)
    add_custom_target(hvtlfs_man ALL DEPENDS ${PROJECT_BINARY_DIR}/man/made)
endif()
foreach(section IN ITEMS 1 3 5 7)
    file(GLOB pages CONFIGURE_DEPENDS docs/man/*.${section})
    if(section EQUAL 1 OR section EQUAL 5)
        set(component Tools)
    else()
        set(component Development)
    endif()
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section}
        COMPONENT ${component})
    if(TARGET hvtlfs_man AND (section EQUAL 1 OR section EQUAL 3))
        install(DIRECTORY ${PROJECT_BINARY_DIR}/man/man${section}/
            DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${component})
    endif()
endforeach()

# Completion of the command's words, where bash-completion looks for it.
if(TARGET hvtlfs_tool)
    install(FILES tools/completion/hvtlfs.bash RENAME hvtlfs
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT Tools)
endif()
