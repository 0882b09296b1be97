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
    # Where it is put, it finds libhvtlfs beside itself.
    set_target_properties(hvtlfs_kvm PROPERTIES INSTALL_RPATH "$ORIGIN")
endif()

configure_package_config_file(cmake/hvtlfsConfig.cmake.in
    ${PROJECT_BINARY_DIR}/cmake/hvtlfsConfig.cmake INSTALL_DESTINATION ${HVTLFS_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/hvtlfsConfigVersion.cmake
    COMPATIBILITY SameMajorVersion)
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

if(TARGET hvtlfs_tool)
    install(TARGETS hvtlfs_tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT Tools)
endif()

# Section 1 goes with the command, 3, 5 and 7 with the library's headers.
foreach(section IN ITEMS 1 3 5 7)
    file(GLOB pages CONFIGURE_DEPENDS docs/man/*.${section})
    if(section EQUAL 1)
        set(component Tools)
    else()
        set(component Development)
    endif()
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section}
        COMPONENT ${component})
endforeach()
